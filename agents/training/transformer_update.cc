#include "agents/training/transformer_update.h"

#include <algorithm>
#include <utility>

#include "agents/models/step_tokens.h"
#include "agents/training/update_ops.h"
#include "attention/linear_op.h"

namespace cosdt::agents {

namespace ops = update_ops;
using torch::Tensor;

namespace {

constexpr int64_t kFrugalRows = 1 << 15;  // tokens from which on memory is short
constexpr int64_t kBlockRows = 1 << 14;   // of the MLP there

Tensor First(const Tensor& x, int64_t rows) { return x.defined() ? x.narrow(0, 0, rows) : x; }

// A parameter's place in an array like the optimiser's.
Tensor In(const Tensor& array, const Tensor& parameter) {
  return array.narrow(0, parameter.storage_offset(), parameter.numel()).view(parameter.sizes());
}

// Weight and bias of each linear layer of the embeddings.
std::vector<Tensor> EmbeddingLayers(const DecisionTransformerImpl& m) {
  return {m.embed_return->weight,    m.embed_return->bias,   m.embed_observation->weight,
          m.embed_observation->bias, m.embed_action->weight, m.embed_action->bias};
}

}  // namespace

bool TransformerUpdate::Takes(const DecisionTransformerOptions& options) {
  return options.discrete_actions == 0 && ops::KernelsTake(options.width, options.action_size);
}

TransformerUpdate::TransformerUpdate(DecisionTransformer model, const AdamW& optimizer,
                                     std::vector<Tensor> data, int64_t batch_size,
                                     torch::ScalarType type, Tensor inputs, Tensor results)
    : model_(std::move(model)),
      options_(model_->options()),
      parameters_(optimizer.parameters()),
      gradients_(optimizer.gradients()),
      data_(std::move(data)),
      tokens_per_step_(options_.tokens),
      batch_(batch_size),
      context_(options_.context),
      rows_(tokens_per_step_ * batch_size * context_),
      width_(options_.width),
      type_(type),
      inputs_(std::move(inputs)),
      results_(std::move(results)) {
  const torch::NoGradGuard no_grad;
  if (type_ == torch::kBFloat16) bfloat16_copy_ = Empty(parameters_.sizes(), type_);
  frugal_ = rows_ >= kFrugalRows;
  block_rows_ = frugal_ ? kBlockRows : rows_;

  // the sums over rows; the head's stand last, with the loss
  const DecisionTransformerImpl& m = *model_;
  const auto& first = m.blocks.front()->norm_1;
  const int64_t embed_column = AddColumns(EmbeddingLayers(m));
  const int64_t norms_column =
      AddColumns({first->weight, first->bias, m.embed_norm->weight, m.embed_norm->bias});
  MakeLayers();
  const int64_t head_column = AddColumns({m.head->weight, m.head->bias});
  const auto columns = static_cast<int64_t>(places_of_columns_.size()) + 1;
  parts_ = Empty({ops::PartsFor(rows_), columns}, torch::kFloat32);
  places_ = torch::tensor(places_of_columns_, torch::kInt64).to(parameters_.device());
  embed_parts_ = Parts(embed_column, norms_column - embed_column);
  embed_norm_parts_ = Parts(norms_column, 4 * width_);
  head_parts_ = Parts(head_column, columns - head_column);
  for (Layer& layer : layers_) {
    for (Linear* linear :
         {&layer.attention_in, &layer.attention_out, &layer.mlp_in, &layer.mlp_out}) {
      linear->bias_parts = Parts(linear->bias_column, linear->bias.numel());
    }
    for (Norm* norm : {&layer.after_attention.norm, &layer.after_mlp.norm}) {
      norm->parts = Parts(norm->column, 2 * width_);
    }
  }
  head_weight_ = In(parameters_, m.head->weight);
  head_bias_ = In(parameters_, m.head->bias);
  MakeEmbedding();
  MakeScratch();
}

void TransformerUpdate::MakeLayers() {
  const DecisionTransformerImpl& m = *model_;
  for (size_t i = 0; i < m.blocks.size(); ++i) {
    const TransformerBlock& block = m.blocks[i];
    Layer layer;
    layer.last = i + 1 == m.blocks.size();
    layer.rows = layer.last ? rows_ / tokens_per_step_ : rows_;
    layer.attention_in = MakeLinear(block->attention_in);
    layer.attention_out = MakeLinear(block->attention_out);
    layer.mlp_in = MakeLinear(block->mlp_in);
    layer.mlp_out = MakeLinear(block->mlp_out);
    layer.qkv = Compute({rows_, 3 * width_});
    const int64_t head_width = width_ / options_.heads;
    layer.form = block->attention->form();
    if (layer.form &&
        !attention::HasCausalLinearKernel(Heads(layer.qkv, 0), head_width, *layer.form)) {
      layer.form.reset();
    }
    layer.mixed = Compute({rows_, width_});
    layer.normalizer = Empty({batch_, options_.heads, rows_ / batch_}, torch::kFloat32);
    layer.after_attention = MakeSum(layer.rows, block->norm_2);
    layer.after_mlp = MakeSum(layer.rows, layer.last ? m.norm : m.blocks[i + 1]->norm_1);
    if (!frugal_) {
      if (options_.dropout > 0 || layer.last) layer.dropped = Compute({layer.rows, width_});
      layer.hidden = Compute({layer.rows, 4 * width_});
      if (options_.activation == "gelu") layer.activated = Compute({layer.rows, 4 * width_});
    }
    layers_.push_back(std::move(layer));
  }
}

void TransformerUpdate::MakeEmbedding() {
  const DecisionTransformerImpl& m = *model_;
  const auto& first = m.blocks.front()->norm_1;
  embed_weights_.push_back(In(parameters_, m.embed_timestep->weight));
  for (const Tensor& parameter : EmbeddingLayers(m)) {
    embed_weights_.push_back(In(parameters_, parameter));
  }
  for (const Tensor& parameter :
       {m.embed_norm->weight, m.embed_norm->bias, first->weight, first->bias}) {
    embed_weights_.push_back(In(parameters_, parameter));
  }
  grad_table_ = In(gradients_, m.embed_timestep->weight);

  const int64_t length = rows_ / batch_;
  mask_ = Empty({batch_, length}, torch::kBool);
  tokens_ = Empty({batch_, length, width_}, torch::kFloat32);
  statistics_0_ = Empty({2, rows_}, torch::kFloat32);
  embedded_.sum = Empty({rows_, width_}, torch::kFloat32);
  embedded_.statistics = Empty({2, rows_}, torch::kFloat32);
  embedded_.norm.gamma = In(parameters_, first->weight);
  embedded_.norm.beta = In(parameters_, first->bias);
  if (!frugal_) embedded_.y = Compute({rows_, width_});
}

void TransformerUpdate::MakeScratch() {
  if (frugal_) {
    y_ = Compute({rows_, width_});
    block_hidden_ = Compute({block_rows_, 4 * width_});
    if (options_.activation == "gelu") block_activated_ = Compute({block_rows_, 4 * width_});
  }
  update_ = Compute({rows_, width_});
  grad_y_ = Compute({rows_, width_});
  grad_qkv_ = Compute({rows_, 3 * width_});
  grad_hidden_ = Compute({block_rows_, 4 * width_});
  grad_x_ = Empty({rows_, width_}, torch::kFloat32);
  grad_x_last_ = Empty({rows_ / tokens_per_step_, width_}, torch::kFloat32);
}

Tensor TransformerUpdate::Empty(torch::IntArrayRef shape, torch::ScalarType type) {
  const Tensor array = torch::empty(shape, parameters_.options().dtype(type));
  bytes_ += static_cast<int64_t>(array.nbytes());
  return array;
}

int64_t TransformerUpdate::AddColumns(const std::vector<Tensor>& parameters) {
  const auto column = static_cast<int64_t>(places_of_columns_.size());
  for (const Tensor& parameter : parameters) {
    for (int64_t i = 0; i < parameter.numel(); ++i) {
      places_of_columns_.push_back(parameter.storage_offset() + i);
    }
  }
  return column;
}

Tensor TransformerUpdate::Parts(int64_t column, int64_t columns) const {
  return parts_.narrow(1, column, columns);
}

TransformerUpdate::Linear TransformerUpdate::MakeLinear(const torch::nn::Linear& layer) {
  const Tensor& from = bfloat16_copy_.defined() ? bfloat16_copy_ : parameters_;
  return {.weight = In(from, layer->weight),
          .bias = In(from, layer->bias),
          .grad_weight = In(gradients_, layer->weight),
          .bias_column = AddColumns({layer->bias}),
          .bias_parts = {}};
}

TransformerUpdate::Norm TransformerUpdate::MakeNorm(const torch::nn::LayerNorm& norm) {
  return {.gamma = In(parameters_, norm->weight),
          .beta = In(parameters_, norm->bias),
          .epsilon = norm->options.eps(),
          .column = AddColumns({norm->weight, norm->bias}),
          .parts = {}};
}

TransformerUpdate::Sum TransformerUpdate::MakeSum(int64_t rows, const torch::nn::LayerNorm& norm) {
  return {.sum = Empty({rows, width_}, torch::kFloat32),
          .statistics = Empty({2, rows}, torch::kFloat32),
          .y = frugal_ ? Tensor() : Compute({rows, width_}),
          .norm = MakeNorm(norm)};
}

int64_t TransformerUpdate::DropoutElements(int64_t i) const {
  const int64_t rows = i == 0 ? rows_ : layers_[static_cast<size_t>((i - 1) / 3)].rows;
  return rows / batch_ * width_;
}

Tensor TransformerUpdate::Heads(const Tensor& qkv, int64_t i) const {
  return qkv.view({batch_, -1, 3, options_.heads, width_ / options_.heads})
      .select(2, i)
      .transpose(1, 2);
}

// Rows of deciding tokens of [rows, width].
Tensor TransformerUpdate::DecidingRows(const Tensor& x) const {
  return x.view({-1, tokens_per_step_, x.size(1)})
      .select(1, step_tokens::DecidingToken(tokens_per_step_));
}

// The normalized rows, computed again if they are not kept: until the next call.
Tensor TransformerUpdate::Y(const Sum& sum) {
  if (sum.y.defined()) return sum.y;
  const Tensor y = First(y_, sum.sum.size(0));
  ops::Normalize(sum.sum, sum.statistics, sum.norm.gamma, sum.norm.beta, y);
  return y;
}

void TransformerUpdate::Product(const Tensor& x, const Linear& layer, Tensor to) const {
  torch::addmm_out(to, layer.bias, x, layer.weight.t());
}

// The values between the MLP's layers: relu writes the activated ones to `hidden`, gelu its
// inputs there and its outputs to `activated`.
void TransformerUpdate::Activate(const Layer& layer, const Tensor& x, Tensor hidden,
                                 Tensor activated) const {
  if (options_.activation == "relu") {
    at::_addmm_activation_out(hidden, layer.mlp_in.bias, x, layer.mlp_in.weight.t());
  } else {
    Product(x, layer.mlp_in, hidden);
    torch::gelu_out(activated, hidden);
  }
}

void TransformerUpdate::Attend(size_t i) {
  Layer& layer = layers_[i];
  Tensor mixed =
      layer.mixed.view({batch_, -1, options_.heads, width_ / options_.heads}).transpose(1, 2);
  if (layer.form) {
    const attention::Inputs inputs = {
        Heads(layer.qkv, 0), Heads(layer.qkv, 1), Heads(layer.qkv, 2), mask_, {}};
    attention::CausalLinearForward(inputs, *layer.form, mixed, layer.normalizer);
    return;
  }
  {
    const torch::AutoGradMode grad(true);
    layer.leaf = layer.qkv.detach().requires_grad_();
    layer.out = model_->blocks[i]->attention(Heads(layer.leaf, 0), Heads(layer.leaf, 1),
                                             Heads(layer.leaf, 2), mask_);
  }
  mixed.copy_(layer.out);
}

void TransformerUpdate::AttendBackward(size_t i, const Tensor& grad_mixed) {
  Layer& layer = layers_[i];
  const auto heads = [&](const Tensor& x) {
    return x.view({batch_, -1, options_.heads, width_ / options_.heads}).transpose(1, 2);
  };
  if (layer.form) {
    const attention::Inputs inputs = {
        Heads(layer.qkv, 0), Heads(layer.qkv, 1), Heads(layer.qkv, 2), mask_, {}};
    Tensor grad_q = Heads(grad_qkv_, 0), grad_k = Heads(grad_qkv_, 1), grad_v = Heads(grad_qkv_, 2);
    attention::CausalLinearBackward(heads(grad_mixed), inputs, *layer.form, heads(layer.mixed),
                                    layer.normalizer, grad_q, grad_k, grad_v);
    return;
  }
  grad_qkv_.copy_(torch::autograd::grad({layer.out}, {layer.leaf}, {heads(grad_mixed)})[0]);
  layer.leaf = layer.out = Tensor();
}

void TransformerUpdate::Forward() {
  const double p = options_.dropout;
  Tensor y = embedded_.y.defined() ? embedded_.y : y_;
  const auto in_batches = [&](const Tensor& x) { return x.view(tokens_.sizes()); };
  ops::EmbedForward({data_, embed_weights_, inputs_, tokens_per_step_, p},
                    model_->embed_norm->options.eps(), mask_, tokens_, statistics_0_,
                    in_batches(embedded_.sum), embedded_.statistics, in_batches(y));
  Tensor x = embedded_.sum;
  for (size_t i = 0; i < layers_.size(); ++i) {
    Layer& layer = layers_[i];
    const auto place = static_cast<int64_t>(1 + 3 * i);  // of the layer's dropout
    Product(y, layer.attention_in, layer.qkv);
    Attend(i);
    if (layer.last) x = DecidingRows(x);
    Tensor dropped = layer.mixed;
    if (p > 0 || layer.last) {
      dropped = layer.dropped.defined() ? layer.dropped : First(y_, layer.rows);
      ops::DropRows(layer.mixed, inputs_, place, p, dropped);
    }
    const Tensor update = First(update_, layer.rows);
    const auto add = [&](const Tensor& to, int64_t key, Sum& sum) {
      y = sum.y.defined() ? sum.y : First(y_, layer.rows);
      ops::AddNormForward(to, update, inputs_, key, p, sum.norm.gamma, sum.norm.beta,
                          sum.norm.epsilon, sum.sum, sum.statistics, y);
    };
    Product(dropped, layer.attention_out, update);
    add(x, place + 1, layer.after_attention);
    for (int64_t row = 0; row < layer.rows; row += block_rows_) {
      const int64_t n = std::min(block_rows_, layer.rows - row);
      const Tensor hidden = frugal_ ? First(block_hidden_, n) : layer.hidden;
      const Tensor activated = frugal_ ? First(block_activated_, n) : layer.activated;
      Activate(layer, y.narrow(0, row, n), hidden, activated);
      Product(activated.defined() ? activated : hidden, layer.mlp_out, update.narrow(0, row, n));
    }
    add(layer.after_attention.sum, place + 2, layer.after_mlp);
    x = layer.after_mlp.sum;
  }
  const std::vector<int64_t> steps = {batch_, context_, width_};
  ops::HeadLoss(y.view(steps), head_weight_, head_bias_, data_[2], inputs_,
                First(grad_y_, y.size(0)).view(steps), head_parts_);
}

void TransformerUpdate::MlpBackward(Layer& layer, const Tensor& grad, Tensor grad_y) {
  const Tensor y = Y(layer.after_attention);
  for (int64_t row = 0; row < layer.rows; row += block_rows_) {
    const int64_t n = std::min(block_rows_, layer.rows - row);
    const bool more = row > 0;  // adds to the blocks before
    const Tensor of_out = grad.narrow(0, row, n), x = y.narrow(0, row, n);
    const Tensor hidden = frugal_ ? First(block_hidden_, n) : layer.hidden;
    const Tensor activated = frugal_ ? First(block_activated_, n) : layer.activated;
    if (frugal_) Activate(layer, x, hidden, activated);
    ops::WeightGradient(of_out, activated.defined() ? activated : hidden, more,
                        layer.mlp_out.grad_weight);
    Tensor of_hidden = First(grad_hidden_, n), of_x = grad_y.narrow(0, row, n);
    torch::mm_out(of_hidden, of_out, layer.mlp_out.weight);
    ops::ColumnSums(options_.activation, hidden, of_hidden, more, layer.mlp_in.bias_parts);
    ops::WeightGradient(of_hidden, x, more, layer.mlp_in.grad_weight);
    torch::mm_out(of_x, of_hidden, layer.mlp_in.weight);
  }
}

void TransformerUpdate::Backward() {
  const double p = options_.dropout;
  Tensor grad_sum;  // of the residual stream, after the layer at hand
  for (size_t i = layers_.size(); i-- > 0;) {
    Layer& layer = layers_[i];
    const auto place = static_cast<int64_t>(1 + 3 * i);
    const Tensor grad_x = layer.last ? grad_x_last_ : grad_x_;
    const Tensor update = First(update_, layer.rows);  // gradients of the residual's summand
    Tensor grad_y = First(grad_y_, layer.rows);
    const auto add_backward = [&](const Sum& sum, const Linear& before, int64_t key) {
      ops::AddNormBackward(sum.sum, sum.statistics, sum.norm.gamma, grad_y, grad_sum, inputs_, key,
                           p, grad_x, update, sum.norm.parts, before.bias_parts);
      grad_sum = grad_x;
    };
    add_backward(layer.after_mlp, layer.mlp_out, place + 2);
    MlpBackward(layer, update, grad_y);
    add_backward(layer.after_attention, layer.attention_out, place + 1);

    Tensor dropped = layer.dropped.defined() ? layer.dropped : layer.mixed;
    const bool drops = p > 0 || layer.last;
    if (drops && frugal_) {
      dropped = First(y_, layer.rows);
      ops::DropRows(layer.mixed, inputs_, place, p, dropped);
    }
    ops::WeightGradient(update, dropped, false, layer.attention_out.grad_weight);
    torch::mm_out(grad_y, update, layer.attention_out.weight);
    if (drops) ops::DropRows(grad_y, inputs_, place, p, update_);
    AttendBackward(i, drops ? update_ : grad_y_);
    ops::ColumnSums("", {}, grad_qkv_, false, layer.attention_in.bias_parts);
    ops::WeightGradient(grad_qkv_, Y(i == 0 ? embedded_ : layers_[i - 1].after_mlp), false,
                        layer.attention_in.grad_weight);
    torch::mm_out(grad_y_, grad_qkv_, layer.attention_in.weight);
  }
  const auto in_batches = [&](const Tensor& x) { return x.view({batch_, -1, width_}); };
  const ops::Embedding embedding = {data_, embed_weights_, inputs_, tokens_per_step_, p};
  ops::EmbedBackward(embedding, tokens_, statistics_0_, in_batches(embedded_.sum),
                     embedded_.statistics, in_batches(grad_y_), in_batches(grad_sum),
                     in_batches(grad_x_), embed_norm_parts_);
  ops::EmbedGradients(embedding, in_batches(grad_x_), grad_table_, embed_parts_);
  ops::SumParts(parts_, places_, inputs_, gradients_, results_);
}

void TransformerUpdate::Run() {
  const torch::NoGradGuard no_grad;
  Forward();
  Backward();
}

}  // namespace cosdt::agents
