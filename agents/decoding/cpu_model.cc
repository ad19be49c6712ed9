#include "agents/decoding/cpu_model.h"

#include <algorithm>
#include <cmath>
#include <iterator>

#include "agents/models/packed_weights.h"

namespace cosdt::agents::decoding {
namespace {

using torch::Tensor;

using agents::Pack;
Packed Pack(const torch::nn::Linear& layer, torch::ScalarType type = torch::kFloat32) {
  return Pack(layer->weight, layer->bias, type);
}

// Queries are scaled; each head's columns are padded.
Packed PackAttentionIn(const torch::nn::Linear& layer, const CacheOptions& form,
                       torch::ScalarType type) {
  const auto pad = [&](const Tensor& x) {  // [3 heads width, ..]
    Tensor parts = x.detach().unflatten(0, {3, form.heads, form.width}).clone();
    parts[0] *= form.query_scale;
    return PadLast(parts.movedim(2, -1)).movedim(-1, 2).flatten(0, 2);
  };
  return Pack(pad(layer->weight), pad(layer->bias), type);
}

Packed PackAttentionOut(const torch::nn::Linear& layer, const CacheOptions& form,
                        torch::ScalarType type) {
  return Pack(PadLast(layer->weight.detach().unflatten(1, {form.heads, form.width})).flatten(1),
              layer->bias, type);
}

void Multiply(Rows from, int64_t rows, const Packed& layer, Epilogue epilogue, Rows to) {
  Gemm(from, rows, layer, layer.bias.data(), 0, layer.outputs, epilogue, to);
}

}  // namespace

// Per-thread buffers: they grow on demand and are reused, because touching fresh memory costs more
// than arithmetic.
struct CpuModel::Workspace {
  Floats y, qkv, mixed, hidden, last, time;
};

CpuModel::Workspace& CpuModel::ThreadWorkspace() {
  static thread_local Workspace workspace;
  return workspace;
}

bool CpuModel::Supports(const DecisionTransformerOptions& options) {
  const std::vector<std::string> kinds = options.attention_kinds();
  return CacheOptions::IsKnown(options.BlockAttention(0)) &&
         std::ranges::count(kinds, kinds.front()) == std::ssize(kinds);
}

CpuModel::Norm CpuModel::CopyNorm(const torch::nn::LayerNorm& norm) {
  return {CopyValues(PadLast(norm->weight.detach())), CopyValues(PadLast(norm->bias.detach())),
          static_cast<float>(norm->options.eps())};
}

CpuModel::CpuModel(const DecisionTransformer& model, torch::ScalarType type)
    : tokens_(model->options().tokens),
      width_(model->options().width),
      observation_size_(model->options().observation_size),
      action_features_(model->options().action_features()),
      discrete_actions_(model->options().discrete_actions),
      max_timestep_(model->options().max_timestep),
      form_(model->options().BlockAttention(0), model->options().heads,
            model->options().width / model->options().heads),
      activation_(model->options().activation == "relu" ? Epilogue::kRelu : Epilogue::kGelu),
      embed_return_(Pack(model->embed_return)),
      embed_observation_(Pack(model->embed_observation)),
      embed_action_(Pack(model->embed_action)),
      head_(Pack(model->head)),
      times_(CopyValues(PadLast(model->embed_timestep->weight.detach()))),
      no_actions_(action_features_),
      embed_norm_(CopyNorm(model->embed_norm)),
      norm_(CopyNorm(model->norm)) {
  for (const TransformerBlock& block : model->blocks) {
    blocks_.push_back({CopyNorm(block->norm_1), CopyNorm(block->norm_2),
                       PackAttentionIn(block->attention_in, form_, type),
                       PackAttentionOut(block->attention_out, form_, type),
                       Pack(block->mlp_in, type), Pack(block->mlp_out, type)});
  }
}

void CpuModel::ApplyNorm(const Norm& norm, Rows x, int64_t rows, Rows y) const {
  Normalize(x, rows, width_, norm.gamma.data(), norm.beta.data(), norm.epsilon, y);
}

void CpuModel::Embed(const Step& step, int64_t rows, float* x) const {
  Workspace& w = ThreadWorkspace();
  w.time.Require(width());
  const int64_t count = tokens(step);
  const auto embed = [&](const Packed& layer, Rows from, int64_t timestep, int64_t token) {
    const float* const time =
        times_.data() + std::clamp<int64_t>(timestep, 0, max_timestep_ - 1) * width();
    std::transform(time, time + width(), layer.bias.data(), w.time.data(), std::plus<>());
    Gemm(from, rows, layer, w.time.data(), 0, width(), Epilogue::kStore,
         {x + token * width(), count * width()});
  };
  const auto add = [&](const Packed& layer, Rows from, int64_t token) {
    Gemm(from, rows, layer, layer.bias.data(), 0, width(), Epilogue::kAdd,
         {x + token * width(), count * width()});
  };
  // they are only read
  const auto read = [](const float* from, const Packed& layer) {
    return Rows{const_cast<float*>(from), layer.inputs};
  };
  const int64_t first = count - deciding_tokens();
  if (first == 1) embed(embed_action_, read(step.actions, embed_action_), step.timestep - 1, 0);
  embed(embed_return_, read(step.returns_to_go, embed_return_), step.timestep, first);
  const Rows observations = read(step.observations, embed_observation_);
  if (tokens_ == 3) {
    embed(embed_observation_, observations, step.timestep, first + 1);
  } else {
    add(embed_observation_, observations, first);
  }
  if (step_tokens::ReadsActionBefore(tokens_)) {
    add(embed_action_,
        step.actions ? read(step.actions, embed_action_)
                     : Rows{const_cast<float*>(no_actions_.data()), 0},
        first);
  }
  const Rows all{x, width()};
  ApplyNorm(embed_norm_, all, rows * count, all);
}

// Queries, keys and values: parts 0, 1, 2, from `begin_part` on.
void CpuModel::ProjectNormalized(const Block& block, Rows y, int64_t tokens, int64_t begin_part,
                                 Rows to) const {
  const Packed& layer = block.attention_in;
  const int64_t begin = begin_part * columns();
  Gemm(y, tokens, layer, layer.bias.data(), begin, 2 * columns(), form_.features,
       {to.data + begin, to.stride});
  Gemm(y, tokens, layer, layer.bias.data(), 2 * columns(), 3 * columns(), Epilogue::kStore,
       {to.data + 2 * columns(), to.stride});
}

void CpuModel::Project(const float* x, int64_t tokens, float* qkv) const {
  Workspace& w = ThreadWorkspace();
  w.y.Require(tokens * width());
  const Rows y{w.y.data(), width()};
  ApplyNorm(blocks_.front().norm_1, {const_cast<float*>(x), width()}, tokens, y);
  ProjectNormalized(blocks_.front(), y, tokens, 0, {qkv, 3 * columns()});
}

void CpuModel::Run(float* x, int64_t rows, int64_t tokens, std::span<float* const> first,
                   const FindMemory& memory, std::span<float> outputs) const {
  Workspace& w = ThreadWorkspace();
  const int64_t total = rows * tokens, stride = 3 * columns();
  w.y.Require(total * width());
  w.qkv.Require(total * stride);
  w.mixed.Require(total * columns());
  w.hidden.Require(total * std::max(blocks_.front().mlp_in.outputs, head_.outputs));
  w.last.Require(rows * std::max(width(), columns()));
  const Rows y{w.y.data(), width()};
  Rows stream{x, width()};  // the residual stream: all tokens, in the last block the last ones
  int64_t count = total;    // of its tokens
  for (size_t i = 0; i < blocks_.size(); ++i) {
    const Block& block = blocks_[i];
    const bool last = i + 1 == blocks_.size();
    const int64_t queries = !last ? tokens : outputs.empty() ? 0 : 1;
    float* last_queries = nullptr;  // [rows, columns()]
    if (i > 0) {
      ApplyNorm(block.norm_1, stream, count, y);
      ProjectNormalized(block, y, total, last ? 1 : 0, {w.qkv.data(), stride});
      if (last && queries > 0) {
        last_queries = w.last.data();
        Gemm({y.data + (tokens - 1) * width(), tokens * width()}, rows, block.attention_in,
             block.attention_in.bias.data(), 0, columns(), form_.features,
             {last_queries, columns()});
      }
    }
    for (int64_t row = 0; row < rows; ++row) {
      float* const qkv = i == 0 ? first[row] : w.qkv.data() + row * tokens * stride;
      const Rows q = last_queries ? Rows{last_queries + row * columns(), columns()}
                                  : Rows{qkv + (tokens - queries) * stride, stride};
      memory(row, i).Advance(q, queries, {qkv + columns(), stride}, {qkv + 2 * columns(), stride},
                             tokens, {w.mixed.data() + row * queries * columns(), columns()});
    }
    if (queries == 0) return;
    if (last) {
      count = rows;
      for (int64_t row = 0; row < rows; ++row) {
        std::copy_n(x + (row * tokens + tokens - 1) * width(), width(),
                    w.last.data() + row * width());
      }
      stream.data = w.last.data();
    }
    const Rows hidden{w.hidden.data(), block.mlp_in.outputs};
    Multiply({w.mixed.data(), columns()}, count, block.attention_out, Epilogue::kAdd, stream);
    ApplyNorm(block.norm_2, stream, count, y);
    Multiply(y, count, block.mlp_in, activation_, hidden);
    Multiply(hidden, count, block.mlp_out, Epilogue::kAdd, stream);
  }
  WriteOutputs(stream, rows, outputs);
}

// The head on the last tokens x.
void CpuModel::WriteOutputs(Rows x, int64_t rows, std::span<float> outputs) const {
  Workspace& w = ThreadWorkspace();
  const Rows y{w.y.data(), width()}, out{w.hidden.data(), head_.outputs};
  ApplyNorm(norm_, x, rows, y);
  Multiply(y, rows, head_, Epilogue::kStore, out);
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t j = 0; j < action_features_; ++j) {
      const float value = out.data[row * out.stride + j];
      outputs[row * action_features_ + j] = discrete_actions_ > 0 ? value : std::tanh(value);
    }
  }
}

}  // namespace cosdt::agents::decoding
