// The loss and its way back through the layers.
#include <algorithm>
#include <cmath>

#include "agents/training/cpu_update.h"
#include "attention/linear_op.h"

namespace cosdt::agents {

using kernels::Epilogue;
using kernels::Rows;
using torch::Tensor;

// The loss, and from it lane.grad_y, the gradient of the last LayerNorm's output at deciding
// tokens.
void CpuUpdate::HeadRows(int64_t row, int64_t rows, Lane& lane) {
  float* const y = layers_.back().after_mlp.y(row);
  const int64_t n = options_.action_features(), padded = kernels::Padded(n);
  float* const slope = lane.hidden.data();
  head_.Forward({y, width_}, rows, Epilogue::kStore, {slope, padded});
  const bool* const real = data_.mask.const_data_ptr<bool>() + row;
  if (critic_) AskCritic(row, rows, slope, lane);
  for (int64_t r = 0; r < rows; ++r) {
    float* const outputs = slope + r * padded;
    if (!real[r]) {
      std::fill_n(outputs, n, 0.0f);
    } else if (options_.discrete_actions > 0) {
      CrossEntropyRow(row + r, outputs, lane);
    } else {
      ErrorRow(row + r, outputs, lane);
      if (critic_) AddCriticRow(row + r, r, outputs, lane);
    }
  }
  head_.Backward({slope, padded}, {y, width_}, rows, Epilogue::kStore, {lane.grad_y.data(), width_},
                 lane.gradients);
}

// The critic's values of tanh of the outputs [rows, padded], and its gradients of these actions.
void CpuUpdate::AskCritic(int64_t row, int64_t rows, const float* outputs, Lane& lane) const {
  const int64_t o = critic_->observation_size(), a = options_.action_size, pair = o + a;
  lane.critic_pairs.Require(rows * pair);
  lane.critic_values.Require(rows);
  lane.critic_gradients.Require(rows * a);
  const float* const observations = data_.critic_observations.const_data_ptr<float>() + row * o;
  for (int64_t r = 0; r < rows; ++r) {
    float* const to = lane.critic_pairs.data() + r * pair;
    std::copy_n(observations + r * o, o, to);
    for (int64_t k = 0; k < a; ++k) to[o + k] = std::tanh(outputs[r * kernels::Padded(a) + k]);
  }
  critic_->Gradients(lane.critic_passes, {lane.critic_pairs.data(), pair}, rows,
                     lane.critic_values.data(), {lane.critic_gradients.data(), a});
}

// Adds the critic's part to a step's loss and slope; `in_block` is its row in the lane's arrays.
void CpuUpdate::AddCriticRow(int64_t row, int64_t in_block, float* outputs, Lane& lane) const {
  const int64_t a = options_.action_size;
  const auto weight =
      static_cast<double>(data_.critic_weights.const_data_ptr<float>()[row / options_.context]);
  const double each = weight * static_cast<double>(a);  // the loss is a mean over values
  const float* const action = lane.critic_pairs.data() +
                              in_block * (critic_->observation_size() + a) +
                              critic_->observation_size();
  lane.loss -= each * static_cast<double>(lane.critic_values.data()[in_block]);
  for (int64_t k = 0; k < a; ++k) {
    outputs[k] -= static_cast<float>(each * share_) *
                  lane.critic_gradients.data()[in_block * a + k] * (1 - action[k] * action[k]);
  }
}

// The squared error of tanh of a step's outputs, and its slope in their place.
void CpuUpdate::ErrorRow(int64_t row, float* outputs, Lane& lane) const {
  const int64_t n = options_.action_size;
  const float* const actions = data_.actions.const_data_ptr<float>() + row * n;
  for (int64_t a = 0; a < n; ++a) {
    const float action = std::tanh(outputs[a]), error = action - actions[a];
    lane.loss += static_cast<double>(error) * static_cast<double>(error);
    outputs[a] = static_cast<float>(2 * share_) * error * (1 - action * action);
  }
}

// The cross entropy of a step's logits, and its slope in their place.
void CpuUpdate::CrossEntropyRow(int64_t row, float* outputs, Lane& lane) const {
  const int64_t n = options_.discrete_actions;
  const auto action = static_cast<int64_t>(data_.actions.const_data_ptr<float>()[row]);
  const float most = *std::max_element(outputs, outputs + n), chosen = outputs[action];
  double sum = 0;
  for (int64_t a = 0; a < n; ++a) {
    outputs[a] = std::exp(outputs[a] - most);
    sum += outputs[a];
  }
  lane.loss += std::log(sum) + most - chosen;
  for (int64_t a = 0; a < n; ++a) {
    outputs[a] = static_cast<float>(share_ * (outputs[a] / sum - (a == action ? 1 : 0)));
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
    ProjectBackward(layers_[i + 1], layer.after_mlp.y(row), row, rows, lane);
    grad_sum = grad_x = grad_x_.data() + row * width_;
  }
  float* const update = lane.update.data();
  layer.after_mlp.Backward(row, rows, PatternOf(dropout + 2), lane.grad_y.data(), grad_sum, grad_x,
                           update, lane.gradients);
  MlpBackward(layer, row, rows, lane);
  layer.after_attention.Backward(row, rows, PatternOf(dropout + 1), lane.grad_y.data(), grad_x,
                                 grad_x, update, lane.gradients);
  float* const grad_mixed = layer.last ? grad_last_.data() : grad_mixed_.data_ptr<float>();
  layer.attention_out.Backward({update, width_}, {layer.dropped.data() + row * width_, width_},
                               rows, Epilogue::kStore, {grad_mixed + row * width_, width_},
                               lane.gradients);
  kernels::Drop(false, grad_mixed, PatternOf(dropout), row * width_, (row + rows) * width_,
                grad_mixed);
  if (layer.last) SpreadLastGradients(row, rows, lane);
}

void CpuUpdate::AttendBackward(size_t i) {
  Layer& layer = layers_[i];
  const auto heads = [&](const Tensor& x) {
    return x.view({part_, -1, options_.heads, width_ / options_.heads}).transpose(1, 2);
  };
  if (layer.form) {
    const attention::Inputs inputs = {
        Heads(layer.qkv, 0), Heads(layer.qkv, 1), Heads(layer.qkv, 2), key_mask_, {}};
    Tensor grad_q = Heads(grad_qkv_, 0), grad_k = Heads(grad_qkv_, 1), grad_v = Heads(grad_qkv_, 2);
    attention::CausalLinearBackward(heads(grad_mixed_), inputs, *layer.form, heads(layer.mixed),
                                    layer.normalizer, grad_q, grad_k, grad_v);
    return;
  }
  grad_qkv_.copy_(torch::autograd::grad({layer.out}, {layer.leaf}, {heads(grad_mixed_)})[0]);
  layer.leaf = layer.out = Tensor();
}

// From the gradient of queries, keys and values, or their features, to that of y, in lane.grad_y.
void CpuUpdate::ProjectBackward(Layer& layer, float* y, int64_t row, int64_t rows, Lane& lane) {
  float* const qkv = layer.qkv.data_ptr<float>() + row * 3 * width_;
  float* const grad_qkv = grad_qkv_.data_ptr<float>() + row * 3 * width_;
  Epilogue epilogue = Epilogue::kStore;
  for (const Projection& p : layer.attention_in) {
    const ptrdiff_t at = p.first * 3 * width_ + p.linear.first(), stride = p.every * 3 * width_;
    const Rows grad{grad_qkv + at, stride};
    if (p.features != Epilogue::kStore) {
      kernels::MulActivationSlopes(p.features, {qkv + at, stride}, rows / p.every,
                                   p.linear.outputs(), grad);
    }
    p.linear.Backward(grad, {y + p.first * width_, p.every * width_}, rows / p.every, epilogue,
                      {lane.grad_y.data() + p.first * width_, p.every * width_}, lane.gradients);
    epilogue = Epilogue::kAdd;
  }
}

}  // namespace cosdt::agents
