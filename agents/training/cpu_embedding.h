// The embeddings of a Decision Transformer in the update on the CPU (cpu_update.h): each step's
// return-to-go, observation and action as tokens (step_tokens.h), then the embeddings' LayerNorm,
// dropout and the first block's LayerNorm.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <vector>

#include "agents/models/agent.h"
#include "agents/training/cpu_layers.h"

namespace cosdt::agents {

class CpuEmbedding {
 public:
  // For batches of `steps` steps in all. The model's parameters are views of the optimiser's array.
  CpuEmbedding(const DecisionTransformerImpl& model, int64_t steps);

  std::vector<CpuLinear>& linears() { return linears_; }

  // The batch of the next passes; it must outlive them.
  void Take(const Batch& batch);

  // Token rows [row, row + rows), whole steps: out() is the residual stream and what the first
  // block takes. `scratch` has [rows, width] elements.
  void Forward(int64_t row, int64_t rows, kernels::DropPattern drop, float* scratch);
  CpuAddNorm& out() { return out_; }

  // From the gradients of out()'s y and sum for these rows. Overwrites grad_y and `scratch`. Adds
  // parameters' gradients to `gradients`, but those of the linear layers' weights to `padded`
  // [padded_size()], where each layer's rows are padded to whole panels, and those of the timestep
  // embedding to an array of its own.
  void Backward(int64_t row, int64_t rows, kernels::DropPattern drop, float* grad_y,
                const float* grad_sum, float* scratch, float* gradients, float* padded);
  int64_t padded_size() const;

  // Adds `padded` to `gradients`.
  void AddPadded(const float* padded, float* gradients) const;

  // Adds the gradient of the timestep embedding, after Backward of all rows.
  void AddTimestepGradient(float* gradients) const;

 private:
  int64_t TimestepOf(int64_t step) const;

  // Rows of the tokens that have input `i` of each step.
  kernels::Rows TokensOf(size_t i, float* tokens) const;

  DecisionTransformerOptions options_;
  int64_t width_, steps_, max_timestep_;
  const float* table_;  // of timestep embeddings
  ptrdiff_t table_offset_;
  std::vector<CpuLinear> linears_;         // of returns-to-go, observations and actions
  std::vector<kernels::Floats> features_;  // [steps, padded] of each
  CpuAddNorm tokens_, out_;
  kernels::Floats grad_steps_;  // [steps, width], of the timestep embedding
  torch::Tensor timesteps_;
};

}  // namespace cosdt::agents
