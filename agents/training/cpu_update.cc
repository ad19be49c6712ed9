#include "agents/training/cpu_update.h"

#include <algorithm>
#include <utility>

#include "agents/models/fused_ops.h"
#include "agents/models/step_tokens.h"
#include "attention/linear_op.h"
#include "attention/parallel.h"

namespace cosdt::agents {
namespace {

using kernels::Epilogue;
using kernels::Rows;
using torch::Tensor;

// Rows of a block: whole steps and whole tiles of products, whose values fit a core's cache.
constexpr int64_t kBlock = 192;

// Tokens of a part of the batch per thread, at least.
constexpr int64_t kPartRows = 5 * kBlock;

// Sequences of a part: the least divisor of the batch that gives the threads enough tokens.
int64_t PartSize(int64_t batch, int64_t tokens, int64_t threads) {
  int64_t size = std::min(batch, (threads * kPartRows + tokens - 1) / tokens);
  while (batch % size != 0) ++size;
  return size;
}

Epilogue FeaturesOf(attention::FeatureMap map) {
  if (map == attention::FeatureMap::kRelu) return Epilogue::kRelu;
  return map == attention::FeatureMap::kEluPlusOne ? Epilogue::kEluPlusOne : Epilogue::kStore;
}

Tensor View(const float* data, int64_t rows, int64_t columns) {
  return torch::from_blob(const_cast<float*>(data), {rows, columns});
}

}  // namespace

bool CpuUpdate::Takes(const DecisionTransformerOptions& options) {
  return options.width % kernels::kPanel == 0;
}

CpuUpdate::CpuUpdate(DecisionTransformer model, const AdamW& optimizer, int64_t batch_size,
                     torch::ScalarType type, const CriticGuide* critic)
    : model_(std::move(model)),
      options_(model_->options()),
      critic_(critic),
      gradients_(optimizer.gradients()),
      bfloat16_(type == torch::kBFloat16),
      tokens_(options_.tokens),
      batch_(batch_size),
      width_(options_.width),
      head_(model_->head) {
  TORCH_CHECK_VALUE(!bfloat16_ || kernels::ProcessorHasBFloat16(),
                    "training: bfloat16: expected a processor with AVX-512 BF16, found none");
  MakeParts(PartSize(batch_, tokens_ * options_.context, at::get_num_threads()));
}

void CpuUpdate::MakeParts(int64_t sequences) {
  if (part_ == sequences) return;
  part_ = sequences;
  rows_ = tokens_ * part_ * options_.context;
  embedding_.emplace(*model_, part_ * options_.context);
  layers_.clear();
  for (size_t i = 0; i < model_->blocks.size(); ++i) layers_.push_back(MakeLayer(i));
  grad_x_ = Floats(rows_ * width_);
  grad_last_ = Floats(rows_ / tokens_ * width_);
  grad_mixed_ = torch::zeros({rows_, width_});
  grad_qkv_ = torch::zeros({rows_, 3 * width_});
}

CpuUpdate::Layer CpuUpdate::MakeLayer(size_t i) const {
  const TransformerBlock& block = model_->blocks[i];
  const bool last = i + 1 == model_->blocks.size();
  const int64_t rows = last ? rows_ / tokens_ : rows_;
  std::optional<attention::LinearForm> form = block->attention->form();
  // kernels are given the features of queries and keys
  const Epilogue features =
      form ? FeaturesOf(std::exchange(form->features, attention::FeatureMap::kIdentity))
           : Epilogue::kStore;
  Layer layer{.form = form,
              .attention_in = {},
              .attention_out = CpuLinear(block->attention_out, bfloat16_),
              .mlp_in = CpuLinear(block->mlp_in, bfloat16_),
              .mlp_out = CpuLinear(block->mlp_out, bfloat16_),
              .last = last,
              .rows = rows,
              .qkv = torch::zeros({rows_, 3 * width_}),  // queries that nobody asks for stay 0
              .mixed = torch::empty({rows_, width_}),
              .normalizer = torch::empty({part_, options_.heads, rows_ / part_}),
              .dropped = Floats(rows * width_),
              .hidden = Floats(rows * 4 * width_),
              .after_attention = CpuAddNorm(rows, block->norm_2),
              .after_mlp = CpuAddNorm(rows, last ? model_->norm : model_->blocks[i + 1]->norm_1),
              .leaf = {},
              .out = {}};
  const auto add = [&](int64_t first, int64_t outputs, Epilogue epilogue) -> Projection& {
    return layer.attention_in.emplace_back(Projection{
        .linear = CpuLinear(block->attention_in, bfloat16_, first, outputs), .features = epilogue});
  };
  if (!form && !model_->queries_are_independent()) {
    add(0, 3 * width_, features);
  } else if (!last || tokens_ == 1) {
    add(0, 2 * width_, features);
    add(2 * width_, width_, Epilogue::kStore);
  } else {
    // those of all tokens first: their gradients are stored, the others added
    add(width_, width_, features);
    add(2 * width_, width_, Epilogue::kStore);
    Projection& queries = add(0, width_, features);
    queries.every = tokens_;
    queries.first = step_tokens::DecidingToken(tokens_);
  }
  return layer;
}

void CpuUpdate::PackWeights() {
  std::vector<CpuLinear*> all = {&head_};
  for (CpuLinear& linear : embedding_->linears()) all.push_back(&linear);
  for (Layer& layer : layers_) {
    for (Projection& projection : layer.attention_in) all.push_back(&projection.linear);
    all.insert(all.end(), {&layer.attention_out, &layer.mlp_in, &layer.mlp_out});
  }
  at::parallel_for(0, static_cast<int64_t>(all.size()), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) all[static_cast<size_t>(i)]->Pack();
  });
}

void CpuUpdate::MakeLanes() {
  lanes_.resize(static_cast<size_t>(at::get_num_threads()));
  const auto clear = [&](int64_t i) {
    Lane& lane = lanes_[static_cast<size_t>(i)];
    if (i > 0) lane.own_gradients.Require(gradients_.numel());
    lane.gradients = i > 0 ? lane.own_gradients.data() : gradients_.data_ptr<float>();
    std::fill_n(lane.gradients, gradients_.numel(), 0.0f);
    for (Floats* rows : {&lane.update, &lane.grad_y, &lane.grad_sum}) {
      rows->Require(kBlock * width_);
    }
    lane.hidden.Require(kBlock * std::max(4 * width_, kernels::Padded(options_.action_features())));
    if (options_.activation == "gelu") lane.activated.Require(kBlock * 4 * width_);
    lane.padded.Require(embedding_->padded_size());
    std::fill_n(lane.padded.data(), embedding_->padded_size(), 0.0f);
    lane.loss = 0;
  };
  at::parallel_for(0, static_cast<int64_t>(lanes_.size()), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) clear(i);
  });
}

// Calls body(first row, rows, lane) for all blocks, each thread on a part of its own.
template <class Body>
void CpuUpdate::ForBlocks(int64_t rows, const Body& body) {
  const int64_t blocks = (rows + kBlock - 1) / kBlock, count = static_cast<int64_t>(lanes_.size());
  at::parallel_for(0, count, 1, [&](int64_t begin, int64_t end) {
    for (int64_t lane = begin; lane < end; ++lane) {
      for (int64_t i = lane * blocks / count; i < (lane + 1) * blocks / count; ++i) {
        body(i * kBlock, std::min(kBlock, rows - i * kBlock), lanes_[static_cast<size_t>(lane)]);
      }
    }
  });
}

// The layer's dropout in the part at hand; the last block's layers see deciding tokens only.
kernels::DropPattern CpuUpdate::PatternOf(int64_t dropout_layer) const {
  const bool last = dropout_layer > 3 * (options_.layers - 1);
  const int64_t steps = (before_ + first_) * options_.context;
  return {.p = options_.dropout,
          .key = Dropout{0, dropout_key_}.For(static_cast<uint64_t>(dropout_layer)).key,
          .first = (last ? steps : tokens_ * steps) * width_};
}

Tensor CpuUpdate::Heads(const Tensor& qkv, int64_t i) const {
  return qkv.view({part_, -1, 3, options_.heads, width_ / options_.heads})
      .select(2, i)
      .transpose(1, 2);
}

CpuAddNorm& CpuUpdate::Before(size_t i) {
  return i == 0 ? embedding_->out() : layers_[i - 1].after_mlp;
}

// Row `row` of the deciding tokens among all tokens.
float* CpuUpdate::DecidingRow(float* tokens, int64_t row) const {
  return tokens + (tokens_ * row + step_tokens::DecidingToken(tokens_)) * width_;
}

// Queries, keys and values of the layer for y [rows, width], which are token rows from `row` on.
void CpuUpdate::Project(Layer& layer, float* y, int64_t row, int64_t rows) {
  float* const qkv = layer.qkv.data_ptr<float>() + row * 3 * width_;
  for (const Projection& p : layer.attention_in) {
    p.linear.Forward({y + p.first * width_, p.every * width_}, rows / p.every, p.features,
                     {qkv + p.first * 3 * width_ + p.linear.first(), p.every * 3 * width_});
  }
}

void CpuUpdate::Attend(size_t i) {
  Layer& layer = layers_[i];
  Tensor mixed =
      layer.mixed.view({part_, -1, options_.heads, width_ / options_.heads}).transpose(1, 2);
  if (layer.form) {
    const attention::Inputs inputs = {
        Heads(layer.qkv, 0), Heads(layer.qkv, 1), Heads(layer.qkv, 2), key_mask_, {}};
    attention::CausalLinearForward(inputs, *layer.form, mixed, layer.normalizer);
    return;
  }
  const torch::AutoGradMode grad(true);
  layer.leaf = layer.qkv.detach().requires_grad_();
  layer.out = model_->blocks[i]->attention(Heads(layer.leaf, 0), Heads(layer.leaf, 1),
                                           Heads(layer.leaf, 2), key_mask_);
  mixed.copy_(layer.out.detach());
}

// All between the layer's attention and the next one's.
void CpuUpdate::ForwardRows(size_t i, int64_t row, int64_t rows, Lane& lane) {
  Layer& layer = layers_[i];
  const auto dropout = static_cast<int64_t>(1 + 3 * i);
  float* const dropped = layer.dropped.data();
  float* mixed = layer.mixed.data_ptr<float>();
  float* x = Before(i).sum(row);
  if (layer.last) {
    for (int64_t r = 0; r < rows; ++r) {
      std::copy_n(DecidingRow(mixed, row + r), width_, dropped + (row + r) * width_);
      std::copy_n(DecidingRow(Before(i).sum(0), row + r), width_,
                  lane.grad_sum.data() + r * width_);
    }
    mixed = dropped;
    x = lane.grad_sum.data();
  }
  kernels::Drop(false, mixed, PatternOf(dropout), row * width_, (row + rows) * width_, dropped);
  float* const update = lane.update.data();
  layer.attention_out.Forward({dropped + row * width_, width_}, rows, Epilogue::kStore,
                              {update, width_});
  layer.after_attention.Forward(row, rows, x, update, PatternOf(dropout + 1));
  const float* const activated = ForwardMlp(layer, row, rows, lane);
  layer.mlp_out.Forward({const_cast<float*>(activated), 4 * width_}, rows, Epilogue::kStore,
                        {update, width_});
  layer.after_mlp.Forward(row, rows, layer.after_attention.sum(row), update,
                          PatternOf(dropout + 2));
  if (!layer.last) Project(layers_[i + 1], layer.after_mlp.y(row), row, rows);
}

// The values between the MLP's layers. Relu keeps the activated ones for the backward pass, gelu
// their arguments.
const float* CpuUpdate::ForwardMlp(Layer& layer, int64_t row, int64_t rows, Lane& lane) {
  const int64_t n = 4 * width_;
  const bool relu = options_.activation == "relu";
  float* const hidden = layer.hidden.data() + row * n;
  layer.mlp_in.Forward({layer.after_attention.y(row), width_}, rows,
                       relu ? Epilogue::kRelu : Epilogue::kStore, {hidden, n});
  if (relu) return hidden;
  Tensor activated = View(lane.activated.data(), rows, n);
  torch::gelu_out(activated, View(hidden, rows, n));
  return lane.activated.data();
}

// From lane.update, the gradient of what the MLP gives, to lane.grad_y.
void CpuUpdate::MlpBackward(Layer& layer, int64_t row, int64_t rows, Lane& lane) {
  const int64_t n = 4 * width_;
  float* const hidden = layer.hidden.data() + row * n;
  const Rows grad{lane.update.data(), width_}, grad_y{lane.grad_y.data(), width_},
      y{layer.after_attention.y(row), width_};
  if (options_.activation == "relu") {  // the gradient takes the activated values' place
    layer.mlp_out.Backward(grad, {hidden, n}, rows, Epilogue::kReluGradient, {hidden, n},
                           lane.gradients);
    layer.mlp_in.Backward({hidden, n}, y, rows, Epilogue::kStore, grad_y, lane.gradients);
    return;
  }
  Tensor activated = View(lane.activated.data(), rows, n);
  torch::gelu_out(activated, View(hidden, rows, n));
  const Rows grad_hidden{lane.hidden.data(), n};
  layer.mlp_out.Backward(grad, {lane.activated.data(), n}, rows, Epilogue::kStore, grad_hidden,
                         lane.gradients);
  Tensor in_place = View(grad_hidden.data, rows, n);
  torch::gelu_backward_out(in_place, in_place, View(hidden, rows, n));
  layer.mlp_in.Backward(grad_hidden, y, rows, Epilogue::kStore, grad_y, lane.gradients);
}

// Gradients of the last layer's deciding tokens among all tokens, those of the others being 0.
void CpuUpdate::SpreadLastGradients(int64_t row, int64_t rows, Lane& lane) {
  const auto spread = [&](const float* from, float* tokens) {
    std::fill_n(tokens + row * tokens_ * width_, rows * tokens_ * width_, 0.0f);
    for (int64_t r = 0; r < rows; ++r) {
      std::copy_n(from + r * width_, width_, DecidingRow(tokens, row + r));
    }
  };
  spread(lane.grad_sum.data(), grad_x_.data());
  spread(grad_last_.data() + row * width_, grad_mixed_.data_ptr<float>());
}

void CpuUpdate::SumLanes() {
  for (Lane& lane : lanes_) embedding_->AddPadded(lane.padded.data(), lane.gradients);
  float* const total = gradients_.data_ptr<float>();
  at::parallel_for(0, gradients_.numel(), 1 << 14, [&](int64_t begin, int64_t end) {
    for (size_t lane = 1; lane < lanes_.size(); ++lane) {
      const float* const from = lanes_[lane].gradients;
      for (int64_t i = begin; i < end; ++i) total[i] += from[i];
    }
  });
}

// Adds the part's losses and gradients to the lanes'.
void CpuUpdate::RunPart(const Batch& part) {
  data_ = part;
  key_mask_ =
      part.mask.unsqueeze(-1).expand({part_, options_.context, tokens_}).reshape({part_, -1});
  embedding_->Take(part);
  ForBlocks(rows_, [&](int64_t row, int64_t rows, Lane& lane) {
    embedding_->Forward(row, rows, PatternOf(0), lane.update.data());
    Project(layers_.front(), embedding_->out().y(row), row, rows);
  });
  for (size_t i = 0; i < layers_.size(); ++i) {
    Attend(i);
    ForBlocks(layers_[i].rows,
              [&](int64_t row, int64_t rows, Lane& lane) { ForwardRows(i, row, rows, lane); });
  }
  for (size_t i = layers_.size(); i-- > 0;) {
    ForBlocks(layers_[i].rows,
              [&](int64_t row, int64_t rows, Lane& lane) { BackwardRows(i, row, rows, lane); });
    AttendBackward(i);
  }
  ForBlocks(rows_, [&](int64_t row, int64_t rows, Lane& lane) {
    ProjectBackward(layers_.front(), embedding_->out().y(row), row, rows, lane);
    embedding_->Backward(row, rows, PatternOf(0), lane.grad_y.data(), grad_x_.data() + row * width_,
                         lane.update.data(), lane.gradients, lane.padded.data());
  });
  embedding_->AddTimestepGradient(lanes_.front().gradients);
}

double CpuUpdate::Run(const Batch& batch, uint64_t dropout_key, std::optional<Whole> whole) {
  const torch::NoGradGuard no_grad;
  dropout_key_ = dropout_key;
  before_ = whole ? whole->first : 0;
  const double real_steps =
      whole ? static_cast<double>(whole->real_steps) : batch.mask.sum().item<double>();
  share_ = 1 / (real_steps * static_cast<double>(options_.action_size));
  MakeParts(PartSize(batch_, tokens_ * options_.context, at::get_num_threads()));
  MakeLanes();
  PackWeights();
  for (first_ = 0; first_ < batch_; first_ += part_) {
    const auto part = [&](const Tensor& x) { return x.narrow(0, first_, part_); };
    const auto if_critic = [&](const Tensor& x) { return critic_ ? part(x) : Tensor(); };
    RunPart({.returns_to_go = part(batch.returns_to_go),
             .observations = part(batch.observations),
             .actions = part(batch.actions),
             .timesteps = part(batch.timesteps),
             .mask = part(batch.mask),
             .previous_actions =
                 options_.reads_previous_actions() ? part(batch.previous_actions) : Tensor(),
             .critic_observations = if_critic(batch.critic_observations),
             .critic_weights = if_critic(batch.critic_weights)});
  }
  SumLanes();
  double loss = 0;
  for (const Lane& lane : lanes_) loss += lane.loss;
  return loss * share_;
}

}  // namespace cosdt::agents
