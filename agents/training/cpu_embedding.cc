#include "agents/training/cpu_embedding.h"

#include <algorithm>

#include "agents/models/step_tokens.h"

namespace cosdt::agents {

using kernels::Epilogue;
using kernels::Rows;

CpuEmbedding::CpuEmbedding(const DecisionTransformerImpl& model, int64_t steps)
    : options_(model.options()),
      width_(options_.width),
      steps_(steps),
      max_timestep_(options_.max_timestep),
      table_(model.embed_timestep->weight.const_data_ptr<float>()),
      table_offset_(model.embed_timestep->weight.storage_offset()),
      tokens_(options_.tokens * steps, model.embed_norm),
      out_(options_.tokens * steps, model.blocks.front()->norm_1),
      grad_steps_(steps * width_) {
  for (const auto& layer : {model.embed_return, model.embed_observation, model.embed_action}) {
    linears_.emplace_back(layer);
    features_.emplace_back(steps * kernels::Padded(linears_.back().inputs()));
  }
}

void CpuEmbedding::Take(const Batch& batch) {
  const torch::Tensor actions =
      EncodeActions(ActionInputs(batch, options_), options_.discrete_actions);
  const torch::Tensor* const from[] = {&batch.returns_to_go, &batch.observations, &actions};
  for (size_t i = 0; i < linears_.size(); ++i) {
    const int64_t n = linears_[i].inputs();
    const float* const x = from[i]->const_data_ptr<float>();
    for (int64_t step = 0; step < steps_; ++step) {
      std::copy_n(x + step * n, n, features_[i].data() + step * kernels::Padded(n));
    }
  }
  timesteps_ = batch.timesteps;
}

int64_t CpuEmbedding::TimestepOf(int64_t step) const {
  return std::min(timesteps_.const_data_ptr<int64_t>()[step], max_timestep_ - 1);
}

Rows CpuEmbedding::TokensOf(size_t i, float* tokens) const {
  return {tokens + step_tokens::TokenOf(static_cast<int>(i), options_.tokens) * width_,
          options_.tokens * width_};
}

void CpuEmbedding::Forward(int64_t row, int64_t rows, kernels::DropPattern drop, float* scratch) {
  const int64_t tokens = options_.tokens, first = row / tokens;
  for (int64_t i = 0; i < rows; ++i) {
    const float* const time = table_ + TimestepOf(first + i / tokens) * width_;
    std::copy_n(time, width_, scratch + i * width_);
  }
  for (size_t i = 0; i < linears_.size(); ++i) {
    const int64_t padded = kernels::Padded(linears_[i].inputs());
    linears_[i].Forward({features_[i].data() + first * padded, padded}, rows / tokens,
                        Epilogue::kAdd, TokensOf(i, scratch));
  }
  tokens_.Forward(row, rows, nullptr, scratch, {});
  out_.Forward(row, rows, nullptr, tokens_.y(row), drop);
}

void CpuEmbedding::Backward(int64_t row, int64_t rows, kernels::DropPattern drop, float* grad_y,
                            const float* grad_sum, float* scratch, float* gradients,
                            float* padded) {
  out_.Backward(row, rows, drop, grad_y, grad_sum, nullptr, scratch, gradients);
  float* const grad_tokens = grad_y;
  tokens_.Backward(row, rows, {}, scratch, nullptr, nullptr, grad_tokens, gradients);
  const int64_t tokens = options_.tokens, first = row / tokens, steps = rows / tokens;
  for (size_t i = 0; i < linears_.size(); ++i) {
    const int64_t columns = kernels::Padded(linears_[i].inputs());
    const Rows grad = TokensOf(i, grad_tokens);
    kernels::AddTransposedProduct(grad, {features_[i].data() + first * columns, columns}, steps, 0,
                                  width_, columns, {padded, columns});
    kernels::AddColumnSums(grad, steps, width_, gradients + linears_[i].bias_offset());
    padded += width_ * columns;
  }
  for (int64_t step = 0; step < steps; ++step) {
    const float* grad = grad_tokens + step * tokens * width_;
    float* const sum = grad_steps_.data() + (first + step) * width_;
    std::copy_n(grad, width_, sum);
    for (int64_t token = 1; token < tokens; ++token) {
      grad += width_;
      for (int64_t j = 0; j < width_; ++j) sum[j] += grad[j];
    }
  }
}

int64_t CpuEmbedding::padded_size() const {
  int64_t size = 0;
  for (const CpuLinear& linear : linears_) size += width_ * kernels::Padded(linear.inputs());
  return size;
}

void CpuEmbedding::AddPadded(const float* padded, float* gradients) const {
  for (const CpuLinear& linear : linears_) {
    float* to = gradients + linear.weight_offset();
    for (int64_t o = 0; o < width_; ++o, padded += kernels::Padded(linear.inputs())) {
      for (int64_t i = 0; i < linear.inputs(); ++i) *to++ += padded[i];
    }
  }
}

void CpuEmbedding::AddTimestepGradient(float* gradients) const {
  for (int64_t step = 0; step < steps_; ++step) {
    float* const to = gradients + table_offset_ + TimestepOf(step) * width_;
    const float* const grad = grad_steps_.data() + step * width_;
    for (int64_t j = 0; j < width_; ++j) to[j] += grad[j];
  }
}

}  // namespace cosdt::agents
