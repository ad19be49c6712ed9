#include "agents/training/cpu_update.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "agents/models/fused_ops.h"
#include "attention/linear_op.h"
#include "attention/parallel.h"

namespace cosdt::agents {
namespace {

using kernels::Epilogue;
using kernels::Rows;
using torch::Tensor;

// Rows of a block: whole steps, and whole tiles of products.
constexpr int64_t kBlock = 192;

// Where row `row` of observation tokens begins among all tokens.
float* ObservationRow(float* tokens, int64_t row, int64_t width) {
  return tokens + (kTokensPerStep * row + 1) * width;
}

Tensor View(float* data, int64_t rows, int64_t columns) {
  return torch::from_blob(data, {rows, columns});
}

}  // namespace

bool CpuUpdate::Takes(const DecisionTransformerOptions& options) {
  return options.width % kernels::kPanel == 0;
}

CpuUpdate::CpuUpdate(DecisionTransformer model, const AdamW& optimizer, int64_t batch_size,
                     torch::ScalarType type)
    : model_(std::move(model)),
      options_(model_->options()),
      parameters_(optimizer.parameters()),
      gradients_(optimizer.gradients()),
      bfloat16_(type == torch::kBFloat16),
      batch_(batch_size),
      rows_(kTokensPerStep * batch_size * options_.context),
      width_(options_.width),
      form_(model_->blocks.front()->attention->form()) {
  TORCH_CHECK_VALUE(!bfloat16_ || kernels::ProcessorHasBFloat16(),
                    "training: bfloat16: expected a processor with AVX-512 BF16, found none");
  DecisionTransformerImpl& m = *model_;
  for (size_t i = 0; i < m.blocks.size(); ++i) layers_.push_back(MakeLayer(i));
  const int64_t steps = rows_ / kTokensPerStep;
  for (const torch::nn::Linear& layer : {m.embed_return, m.embed_observation, m.embed_action}) {
    embeddings_.push_back(MakeLinear(layer));
    features_.emplace_back(steps * kernels::Padded(embeddings_.back().inputs));
  }
  head_ = MakeLinear(m.head);
  tokens_ = MakeSum(rows_, m.embed_norm);
  embedded_ = MakeSum(rows_, m.blocks.front()->norm_1);
  grad_x_ = Floats(rows_ * width_);
  grad_last_ = Floats(steps * width_);
  grad_steps_ = Floats(steps * width_);
  grad_mixed_ = torch::zeros({rows_, width_});
  grad_qkv_ = torch::zeros({rows_, 3 * width_});
}

CpuUpdate::Linear CpuUpdate::MakeLinear(const torch::nn::Linear& layer, bool bfloat16,
                                        int64_t column, int64_t outputs) const {
  Linear linear;
  linear.bfloat16 = bfloat16;
  linear.inputs = layer->weight.size(1);
  linear.outputs = outputs > 0 ? outputs : layer->weight.size(0);
  linear.column = column;
  linear.weight_at = layer->weight.storage_offset() + column * linear.inputs;
  linear.bias_at = layer->bias.storage_offset() + column;
  linear.weight = parameters_.const_data_ptr<float>() + linear.weight_at;
  linear.bias = parameters_.const_data_ptr<float>() + linear.bias_at;
  return linear;
}

CpuUpdate::Norm CpuUpdate::MakeNorm(const torch::nn::LayerNorm& norm) const {
  return {.gamma = norm->weight.const_data_ptr<float>(),
          .beta = norm->bias.const_data_ptr<float>(),
          .epsilon = norm->options.eps(),
          .gamma_at = norm->weight.storage_offset(),
          .beta_at = norm->bias.storage_offset()};
}

CpuUpdate::Sum CpuUpdate::MakeSum(int64_t rows, const torch::nn::LayerNorm& norm) const {
  return {.sum = Floats(rows * width_),
          .mean = Floats(rows),
          .inverse_std = Floats(rows),
          .y = Floats(rows * width_),
          .norm = MakeNorm(norm)};
}

CpuUpdate::Layer CpuUpdate::MakeLayer(size_t i) const {
  const TransformerBlock& block = model_->blocks[i];
  Layer layer;
  layer.last = i + 1 == model_->blocks.size();
  layer.rows = layer.last ? rows_ / kTokensPerStep : rows_;
  if (layer.last && model_->queries_are_independent()) {
    layer.attention_in.push_back(MakeLinear(block->attention_in, bfloat16_, width_, 2 * width_));
    layer.attention_in.push_back(MakeLinear(block->attention_in, bfloat16_, 0, width_));
    layer.attention_in.back().observations_only = true;
  } else {
    layer.attention_in.push_back(MakeLinear(block->attention_in, bfloat16_));
  }
  layer.attention_out = MakeLinear(block->attention_out, bfloat16_);
  layer.mlp_in = MakeLinear(block->mlp_in, bfloat16_);
  layer.mlp_out = MakeLinear(block->mlp_out, bfloat16_);
  layer.qkv = torch::zeros({rows_, 3 * width_});  // queries that nobody asks for stay 0
  layer.mixed = torch::empty({rows_, width_});
  layer.normalizer = torch::empty({batch_, options_.heads, rows_ / batch_});
  layer.dropped = Floats(layer.rows * width_);
  layer.hidden = Floats(layer.rows * 4 * width_);
  layer.after_attention = MakeSum(layer.rows, block->norm_2);
  layer.after_mlp = MakeSum(layer.rows, layer.last ? model_->norm : model_->blocks[i + 1]->norm_1);
  return layer;
}

template <class Body>
void CpuUpdate::ForLinears(const Body& body) {
  for (Linear& linear : embeddings_) body(linear);
  for (Layer& layer : layers_) {
    for (Linear& linear : layer.attention_in) body(linear);
    for (Linear* linear : {&layer.attention_out, &layer.mlp_in, &layer.mlp_out}) body(*linear);
  }
  body(head_);
}

void CpuUpdate::PackWeights() {
  std::vector<Linear*> linears;
  ForLinears([&](Linear& linear) { linears.push_back(&linear); });
  at::parallel_for(0, static_cast<int64_t>(linears.size()), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      Linear& linear = *linears[static_cast<size_t>(i)];
      kernels::PackWeights(linear.weight, linear.outputs, linear.inputs, true, linear.bfloat16,
                           linear.forward);
      kernels::PackWeights(linear.weight, linear.outputs, linear.inputs, false, linear.bfloat16,
                           linear.backward);
      std::copy_n(linear.bias, linear.outputs, linear.forward.bias.data());
    }
  });
}

void CpuUpdate::MakeLanes() {
  lanes_.resize(static_cast<size_t>(at::get_num_threads()));
  int64_t affine = 2 * width_, embedding = 0;
  for (const Linear& linear : embeddings_) embedding += width_ * kernels::Padded(linear.inputs);
  for (size_t i = 0; i < lanes_.size(); ++i) {
    Lane& lane = lanes_[i];
    if (i > 0) lane.own_gradients.Require(gradients_.numel());
    lane.gradients = i > 0 ? lane.own_gradients.data() : gradients_.data_ptr<float>();
    std::fill_n(lane.gradients, gradients_.numel(), 0.0f);
    for (Floats* rows : {&lane.update, &lane.grad_y, &lane.grad_sum})
      rows->Require(kBlock * width_);
    if (options_.activation == "gelu") {
      lane.hidden.Require(kBlock * 4 * width_);
      lane.activated.Require(kBlock * 4 * width_);
    }
    lane.affine.Require(affine);
    lane.embedding_gradients.Require(embedding);
    std::fill_n(lane.embedding_gradients.data(), embedding, 0.0f);
    lane.loss = 0;
  }
}

void CpuUpdate::CopyFeatures(const Batch& batch) {
  data_ = batch;
  key_mask_ = batch.mask.unsqueeze(-1)
                  .expand({batch_, options_.context, kTokensPerStep})
                  .reshape({batch_, -1});
  share_ = 1 / (batch.mask.sum().item<double>() * static_cast<double>(options_.action_size));
  const Tensor* const from[] = {&batch.returns_to_go, &batch.observations, &batch.actions};
  for (size_t i = 0; i < features_.size(); ++i) {
    const int64_t n = embeddings_[i].inputs;
    const float* const x = from[i]->const_data_ptr<float>();
    float* const to = features_[i].data();
    for (int64_t step = 0; step < rows_ / kTokensPerStep; ++step) {
      std::copy_n(x + step * n, n, to + step * kernels::Padded(n));
    }
  }
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

kernels::DropPattern CpuUpdate::PatternOf(int64_t dropout_layer) const {
  return {options_.dropout, Dropout{0, dropout_key_}.For(static_cast<uint64_t>(dropout_layer)).key};
}

// The sum's rows from `row` on, with the dropout of what is added to it; below 0: none.
kernels::AddNorm CpuUpdate::NormOf(Sum& sum, int64_t row, int64_t dropout_layer) const {
  kernels::AddNorm op;
  op.width = width_;
  op.first_row = row;
  if (dropout_layer >= 0) op.drop = PatternOf(dropout_layer);
  op.gamma = sum.norm.gamma;
  op.beta = sum.norm.beta;
  op.epsilon = sum.norm.epsilon;
  op.sum = sum.sum.data() + row * width_;
  op.norm = sum.y.data() + row * width_;
  op.mean = sum.mean.data() + row;
  op.inverse_std = sum.inverse_std.data() + row;
  return op;
}

Tensor CpuUpdate::Heads(const Tensor& qkv, int64_t i) const {
  return qkv.view({batch_, -1, 3, options_.heads, width_ / options_.heads})
      .select(2, i)
      .transpose(1, 2);
}

// Queries, keys and values of the layer for y [rows, width], which are token rows from `row` on.
void CpuUpdate::Project(Layer& layer, const float* y, int64_t row, int64_t rows) {
  float* const x = const_cast<float*>(y);
  float* const qkv = layer.qkv.data_ptr<float>();
  for (const Linear& linear : layer.attention_in) {
    const int64_t every = linear.observations_only ? kTokensPerStep : 1;
    const int64_t first = linear.observations_only ? 1 : 0;
    kernels::Gemm({x + first * width_, every * width_}, rows / every, linear.forward,
                  linear.forward.bias.data(), 0, linear.outputs, Epilogue::kStore,
                  {qkv + (row + first) * 3 * width_ + linear.column, every * 3 * width_});
  }
}

void CpuUpdate::EmbedRows(int64_t row, int64_t rows, Lane& lane) {
  const int64_t first = row / kTokensPerStep, steps = rows / kTokensPerStep;
  const int64_t* const timesteps = data_.timesteps.const_data_ptr<int64_t>() + first;
  const float* const table = model_->embed_timestep->weight.const_data_ptr<float>();
  for (int64_t i = 0; i < rows; ++i) {
    const int64_t time = std::min(timesteps[i / kTokensPerStep], options_.max_timestep - 1);
    std::copy_n(table + time * width_, width_, lane.update.data() + i * width_);
  }
  for (size_t i = 0; i < embeddings_.size(); ++i) {
    const Linear& linear = embeddings_[i];
    const int64_t padded = kernels::Padded(linear.inputs), at = static_cast<int64_t>(i) * width_;
    kernels::Gemm({features_[i].data() + first * padded, padded}, steps, linear.forward,
                  linear.forward.bias.data(), 0, width_, Epilogue::kAdd,
                  {lane.update.data() + at, kTokensPerStep * width_});
  }
  kernels::AddNorm norm = NormOf(tokens_, row, -1);
  norm.update = lane.update.data();
  norm.norm = lane.grad_y.data();
  kernels::FusedAddNorm(norm, 0, rows);
  kernels::AddNorm next = NormOf(embedded_, row, 0);
  next.update = lane.grad_y.data();
  kernels::FusedAddNorm(next, 0, rows);
  Project(layers_.front(), static_cast<const float*>(next.norm), row, rows);
}

void CpuUpdate::Attend(size_t i) {
  Layer& layer = layers_[i];
  Tensor mixed =
      layer.mixed.view({batch_, -1, options_.heads, width_ / options_.heads}).transpose(1, 2);
  if (form_) {
    const attention::Inputs inputs = {
        Heads(layer.qkv, 0), Heads(layer.qkv, 1), Heads(layer.qkv, 2), key_mask_, {}};
    attention::CausalLinearForward(inputs, *form_, mixed, layer.normalizer);
    return;
  }
  {
    const torch::AutoGradMode grad(true);
    layer.leaf = layer.qkv.detach().requires_grad_();
    layer.out = model_->blocks[i]->attention(Heads(layer.leaf, 0), Heads(layer.leaf, 1),
                                             Heads(layer.leaf, 2), key_mask_);
  }
  mixed.copy_(layer.out);
}

// All between the layer's attention and the next one's, or the loss.
void CpuUpdate::ForwardRows(size_t i, int64_t row, int64_t rows, Lane& lane) {
  Layer& layer = layers_[i];
  const auto dropout = static_cast<int64_t>(1 + 3 * i);
  float* const mixed = layer.mixed.data_ptr<float>();
  float* const dropped = layer.dropped.data();
  const float* undropped = mixed;
  if (layer.last) {
    for (int64_t r = row; r < row + rows; ++r) {
      std::copy_n(ObservationRow(mixed, r, width_), width_, dropped + r * width_);
    }
    undropped = dropped;
  }
  kernels::Drop(false, undropped, PatternOf(dropout), row * width_, (row + rows) * width_, dropped);
  const auto product = [&](const Linear& linear, const float* from, Epilogue epilogue, float* to) {
    kernels::Gemm({const_cast<float*>(from), linear.inputs}, rows, linear.forward,
                  linear.forward.bias.data(), 0, linear.outputs, epilogue, {to, linear.outputs});
  };
  product(layer.attention_out, dropped + row * width_, Epilogue::kStore, lane.update.data());
  Sum& before = i == 0 ? embedded_ : layers_[i - 1].after_mlp;
  const float* x = before.sum.data() + row * width_;
  if (layer.last) {
    for (int64_t r = 0; r < rows; ++r) {
      std::copy_n(ObservationRow(before.sum.data(), row + r, width_), width_,
                  lane.grad_sum.data() + r * width_);
    }
    x = lane.grad_sum.data();
  }
  kernels::AddNorm first = NormOf(layer.after_attention, row, dropout + 1);
  first.x = x;
  first.update = lane.update.data();
  kernels::FusedAddNorm(first, 0, rows);

  float* const hidden = layer.hidden.data() + row * 4 * width_;
  const float* activated = hidden;
  const bool relu = options_.activation == "relu";
  product(layer.mlp_in, static_cast<float*>(first.norm), relu ? Epilogue::kRelu : Epilogue::kStore,
          hidden);
  if (!relu) {
    Tensor to = View(lane.activated.data(), rows, 4 * width_);
    torch::gelu_out(to, View(hidden, rows, 4 * width_));
    activated = lane.activated.data();
  }
  product(layer.mlp_out, activated, Epilogue::kStore, lane.update.data());
  kernels::AddNorm second = NormOf(layer.after_mlp, row, dropout + 2);
  second.x = first.sum;
  second.update = lane.update.data();
  kernels::FusedAddNorm(second, 0, rows);
  if (!layer.last) Project(layers_[i + 1], static_cast<float*>(second.norm), row, rows);
}

// Loss and its gradient of y, the last LayerNorm's output, for observation tokens.
void CpuUpdate::HeadRows(int64_t row, int64_t rows, Lane& lane) {
  float* const y = layers_.back().after_mlp.y.data() + row * width_;
  const int64_t n = options_.action_size, padded = head_.forward.outputs;
  lane.hidden.Require(kBlock * padded);
  float* const slope = lane.hidden.data();
  kernels::Gemm({y, width_}, rows, head_.forward, head_.forward.bias.data(), 0, padded,
                Epilogue::kStore, {slope, padded});
  const float* const actions = data_.actions.const_data_ptr<float>() + row * n;
  const bool* const real = data_.mask.const_data_ptr<bool>() + row;
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t a = 0; a < n; ++a) {
      float& at = slope[r * padded + a];
      const float action = std::tanh(at);
      const float error = real[r] ? action - actions[r * n + a] : 0;
      lane.loss += static_cast<double>(error) * static_cast<double>(error);
      at = static_cast<float>(2 * share_) * error * (1 - action * action);
    }
  }
  LinearBackward(head_, {slope, padded}, {y, width_}, rows, Epilogue::kStore,
                 {lane.grad_y.data(), width_}, lane);
}

// Gradients of weight and bias, and of x (`grad_x`, by the epilogue). x's rows have a multiple of
// kPanel columns.
void CpuUpdate::LinearBackward(const Linear& layer, Rows grad, Rows x, int64_t rows,
                               Epilogue epilogue, Rows grad_x, Lane& lane) {
  const auto add_product =
      layer.bfloat16 ? kernels::AddTransposedProductBFloat16 : kernels::AddTransposedProduct;
  add_product(grad, x, rows, 0, layer.outputs, layer.inputs,
              {lane.gradients + layer.weight_at, layer.inputs});
  kernels::AddColumnSums(grad, rows, layer.outputs, lane.gradients + layer.bias_at);
  kernels::Gemm(grad, rows, layer.backward, layer.backward.bias.data(), 0, layer.backward.outputs,
                epilogue, grad_x);
}

// From the gradient of y in lane.grad_y and of the sum (or null): the gradient of x in `grad_x`, of
// what was added to it in lane.update.
void CpuUpdate::NormBackward(const kernels::AddNorm& op, const Norm& norm, const float* grad_sum,
                             float* grad_x, int64_t rows, Lane& lane) {
  float* const affine = lane.affine.data();
  std::fill_n(affine, 2 * width_, 0.0f);
  kernels::FusedAddNormBackward(op,
                                {.grad_sum = grad_sum,
                                 .grad_norm = lane.grad_y.data(),
                                 .grad_x = grad_x,
                                 .grad_update = lane.update.data()},
                                0, rows, affine);
  for (int64_t j = 0; j < width_; ++j) {
    lane.gradients[norm.gamma_at + j] += affine[j];
    lane.gradients[norm.beta_at + j] += affine[width_ + j];
  }
}

// From lane.update, the gradient of what the MLP gives, to lane.grad_y.
void CpuUpdate::MlpBackward(Layer& layer, int64_t row, int64_t rows, Lane& lane) {
  const int64_t n = 4 * width_;
  float* const hidden = layer.hidden.data() + row * n;
  float* const y = layer.after_attention.y.data() + row * width_;
  const Rows grad{lane.update.data(), width_}, grad_y{lane.grad_y.data(), width_};
  if (options_.activation == "relu") {  // the gradient takes its place
    LinearBackward(layer.mlp_out, grad, {hidden, n}, rows, Epilogue::kReluGradient, {hidden, n},
                   lane);
    LinearBackward(layer.mlp_in, {hidden, n}, {y, width_}, rows, Epilogue::kStore, grad_y, lane);
    return;
  }
  Tensor activated = View(lane.activated.data(), rows, n);
  torch::gelu_out(activated, View(hidden, rows, n));
  const Rows grad_hidden{lane.hidden.data(), n};
  LinearBackward(layer.mlp_out, grad, {lane.activated.data(), n}, rows, Epilogue::kStore,
                 grad_hidden, lane);
  Tensor in_place = View(grad_hidden.data, rows, n);
  torch::gelu_backward_out(in_place, in_place, View(hidden, rows, n));
  LinearBackward(layer.mlp_in, grad_hidden, {y, width_}, rows, Epilogue::kStore, grad_y, lane);
}

// From the gradient of queries, keys and values to that of y, in lane.grad_y.
void CpuUpdate::ProjectBackward(Layer& layer, const float* y, int64_t row, int64_t rows,
                                Lane& lane) {
  float* const x = const_cast<float*>(y);
  float* const grad = grad_qkv_.data_ptr<float>();
  for (const Linear& linear : layer.attention_in) {
    const int64_t every = linear.observations_only ? kTokensPerStep : 1;
    const int64_t first = linear.observations_only ? 1 : 0;
    LinearBackward(linear, {grad + (row + first) * 3 * width_ + linear.column, every * 3 * width_},
                   {x + first * width_, every * width_}, rows / every,
                   linear.observations_only ? Epilogue::kAdd : Epilogue::kStore,
                   {lane.grad_y.data() + first * width_, every * width_}, lane);
  }
}

// From behind the layer to what its attention gave.
void CpuUpdate::BackwardRows(size_t i, int64_t row, int64_t rows, Lane& lane) {
  Layer& layer = layers_[i];
  const auto dropout = static_cast<int64_t>(1 + 3 * i);
  const float* grad_sum = nullptr;
  float* grad_x = lane.grad_sum.data();
  if (layer.last) {
    HeadRows(row, rows, lane);
  } else {
    ProjectBackward(layers_[i + 1], layer.after_mlp.y.data() + row * width_, row, rows, lane);
    grad_sum = grad_x = grad_x_.data() + row * width_;
  }
  NormBackward(NormOf(layer.after_mlp, row, dropout + 2), layer.after_mlp.norm, grad_sum, grad_x,
               rows, lane);
  MlpBackward(layer, row, rows, lane);
  NormBackward(NormOf(layer.after_attention, row, dropout + 1), layer.after_attention.norm, grad_x,
               grad_x, rows, lane);

  float* const grad_mixed = layer.last ? grad_last_.data() : grad_mixed_.data_ptr<float>();
  LinearBackward(layer.attention_out, {lane.update.data(), width_},
                 {layer.dropped.data() + row * width_, width_}, rows, Epilogue::kStore,
                 {grad_mixed + row * width_, width_}, lane);
  kernels::Drop(false, grad_mixed, PatternOf(dropout), row * width_, (row + rows) * width_,
                grad_mixed);
  if (!layer.last) return;
  for (int64_t r = 0; r < rows; ++r) {
    std::fill_n(grad_x_.data() + (row + r) * kTokensPerStep * width_, kTokensPerStep * width_,
                0.0f);
    std::copy_n(grad_x + r * width_, width_, ObservationRow(grad_x_.data(), row + r, width_));
    float* const tokens = grad_mixed_.data_ptr<float>();
    std::fill_n(tokens + (row + r) * kTokensPerStep * width_, kTokensPerStep * width_, 0.0f);
    std::copy_n(grad_mixed + (row + r) * width_, width_, ObservationRow(tokens, row + r, width_));
  }
}

void CpuUpdate::AttendBackward(size_t i) {
  Layer& layer = layers_[i];
  const auto heads = [&](const Tensor& x) {
    return x.view({batch_, -1, options_.heads, width_ / options_.heads}).transpose(1, 2);
  };
  if (form_) {
    const attention::Inputs inputs = {
        Heads(layer.qkv, 0), Heads(layer.qkv, 1), Heads(layer.qkv, 2), key_mask_, {}};
    Tensor grad_q = Heads(grad_qkv_, 0), grad_k = Heads(grad_qkv_, 1), grad_v = Heads(grad_qkv_, 2);
    attention::CausalLinearBackward(heads(grad_mixed_), inputs, *form_, heads(layer.mixed),
                                    layer.normalizer, grad_q, grad_k, grad_v);
    return;
  }
  grad_qkv_.copy_(torch::autograd::grad({layer.out}, {layer.leaf}, {heads(grad_mixed_)})[0]);
  layer.leaf = layer.out = Tensor();
}

void CpuUpdate::EmbedRowsBackward(int64_t row, int64_t rows, Lane& lane) {
  ProjectBackward(layers_.front(), embedded_.y.data() + row * width_, row, rows, lane);
  NormBackward(NormOf(embedded_, row, 0), embedded_.norm, grad_x_.data() + row * width_, nullptr,
               rows, lane);
  std::swap(lane.update, lane.grad_y);
  NormBackward(NormOf(tokens_, row, -1), tokens_.norm, nullptr, nullptr, rows, lane);
  const int64_t first = row / kTokensPerStep, steps = rows / kTokensPerStep;
  float* to = lane.embedding_gradients.data();
  for (size_t i = 0; i < embeddings_.size(); ++i) {
    const Linear& linear = embeddings_[i];
    const int64_t padded = kernels::Padded(linear.inputs), at = static_cast<int64_t>(i) * width_;
    const Rows grad{lane.update.data() + at, kTokensPerStep * width_};
    kernels::AddTransposedProduct(grad, {features_[i].data() + first * padded, padded}, steps, 0,
                                  width_, padded, {to, padded});
    kernels::AddColumnSums(grad, steps, width_, lane.gradients + linear.bias_at);
    to += width_ * padded;
  }
  for (int64_t step = 0; step < steps; ++step) {
    const float* const grad = lane.update.data() + step * kTokensPerStep * width_;
    float* const sum = grad_steps_.data() + (first + step) * width_;
    for (int64_t j = 0; j < width_; ++j) sum[j] = grad[j] + grad[width_ + j] + grad[2 * width_ + j];
  }
}

void CpuUpdate::SumLanes() {
  float* const total = gradients_.data_ptr<float>();
  for (Lane& lane : lanes_) {
    const float* from = lane.embedding_gradients.data();
    for (const Linear& linear : embeddings_) {
      for (int64_t o = 0; o < width_; ++o, from += kernels::Padded(linear.inputs)) {
        float* const to = lane.gradients + linear.weight_at + o * linear.inputs;
        for (int64_t i = 0; i < linear.inputs; ++i) to[i] += from[i];
      }
    }
  }
  at::parallel_for(0, gradients_.numel(), 1 << 14, [&](int64_t begin, int64_t end) {
    for (size_t lane = 1; lane < lanes_.size(); ++lane) {
      const float* const from = lanes_[lane].gradients;
      for (int64_t i = begin; i < end; ++i) total[i] += from[i];
    }
  });
  const int64_t* const timesteps = data_.timesteps.const_data_ptr<int64_t>();
  float* const table = total + model_->embed_timestep->weight.storage_offset();
  for (int64_t step = 0; step < rows_ / kTokensPerStep; ++step) {
    const int64_t time = std::min(timesteps[step], options_.max_timestep - 1);
    const float* const grad = grad_steps_.data() + step * width_;
    for (int64_t j = 0; j < width_; ++j) table[time * width_ + j] += grad[j];
  }
}

double CpuUpdate::Run(const Batch& batch, uint64_t dropout_key) {
  const torch::NoGradGuard no_grad;
  dropout_key_ = dropout_key;
  MakeLanes();
  CopyFeatures(batch);
  PackWeights();
  ForBlocks(rows_, [&](int64_t row, int64_t rows, Lane& lane) { EmbedRows(row, rows, lane); });
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
  ForBlocks(rows_,
            [&](int64_t row, int64_t rows, Lane& lane) { EmbedRowsBackward(row, rows, lane); });
  SumLanes();
  double loss = 0;
  for (const Lane& lane : lanes_) loss += lane.loss;
  return loss * share_;
}

}  // namespace cosdt::agents
