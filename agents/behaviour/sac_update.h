#pragma once

#include <torch/torch.h>

#include <array>
#include <cstdint>

#include "agents/kernels/gemm.h"
#include "agents/mlp/mlp_passes.h"
#include "agents/mlp/mlp_stack.h"

namespace cosdt::agents {

// Transitions of a batch, float32. A timeout is no terminal.
struct SacBatch {
  torch::Tensor observations;       // [batch, observation_size]
  torch::Tensor actions;            // [batch, action_size]
  torch::Tensor rewards;            // [batch]
  torch::Tensor next_observations;  // [batch, observation_size]
  torch::Tensor terminals;          // [batch], 0 or 1
};

struct SacLosses {
  float critic = 0;       // mean squared Bellman error, summed over the two critics
  float policy = 0;       // alpha log pi - min Q
  float temperature = 0;  // -log alpha (log pi + target entropy)
  float entropy = 0;      // of the policy, in nats: -log pi
  float alpha = 0;        // the temperature that the losses were computed with
};

struct SacNetworks {
  MlpStack& policy;         // outputs: means of the actions, then logarithms of their stds
  MlpStack& critics;        // two members; inputs: observation, then action
  const MlpStack& targets;  // the critics' slow copies
};

// Actions that a tanh Gaussian policy samples, with what their gradients need.
class SampledActions {
 public:
  // Takes `rows` rows of a policy's outputs [rows, 2 size] and standard normal noise [rows, size].
  void Sample(kernels::Rows outputs, const float* noise, int64_t rows, int64_t size);

  // The row's `size` values.
  const float* action(int64_t row) const { return action_.data() + row * size_; }
  const float* std(int64_t row) const { return std_.data() + row * size_; }
  const float* noise(int64_t row) const { return noise_.data() + row * size_; }
  // Before the clamp.
  const float* log_std(int64_t row) const { return log_std_.data() + row * size_; }

  // The logarithm of the row's density.
  float LogProb(int64_t row) const;

 private:
  int64_t size_ = 0;
  kernels::Floats mean_, log_std_, noise_, std_, action_, log_prob_;  // [rows * size], padded
};

// SAC's losses and their gradients (arXiv 1812.05905, equations 5, 9 and 18), written out without
// autograd. The policy's gradient flows through the smaller of the two critics, so that each row
// passes back through one of them.
class SacUpdate {
 public:
  SacUpdate(int64_t observation_size, int64_t action_size, double gamma);

  // Writes the gradients of policy and critics. `noise` is standard normal, [2 batch, action_size]:
  // rows for the observations, then for the next ones. The gradient of log alpha is
  // action_size + entropy. Uses LibTorch's threads; the bits do not depend on their number.
  SacLosses ComputeGradients(const SacBatch& batch, const torch::Tensor& noise, float alpha,
                             const SacNetworks& networks);

  // Floating-point operations of the matrix products that the losses of a batch need.
  static double Flops(int64_t observation_size, int64_t action_size, int64_t hidden, int64_t rows);

 private:
  void Load(const SacBatch& batch);
  void Act(const MlpStack& policy, const torch::Tensor& noise);
  void ComputeReturns(const MlpStack& targets, float alpha);
  void UpdateCritics(MlpStack& critics);
  void UpdatePolicy(MlpStack& policy, float alpha);

  kernels::Rows Pairs(kernels::Floats& pairs, int64_t row = 0);

  int64_t observation_size_, action_size_, rows_ = 0;
  float gamma_;
  kernels::Floats policy_inputs_;                            // [2 rows, observation_size]
  kernels::Floats batch_pairs_, policy_pairs_, next_pairs_;  // [rows, observation, then action]
  kernels::Floats rewards_, discounts_;                      // [rows]
  kernels::Floats policy_outputs_, policy_gradients_;        // [2 rows, 2 action_size]
  kernels::Floats policy_memory_;                            // hidden values of the observations
  SampledActions sampled_;                                   // [2 rows]
  kernels::Floats returns_, values_;                         // [rows]; values: the smaller critic's
  kernels::Floats action_gradients_;                         // [rows, action_size]
  std::array<float, 2> squared_errors_{};                    // sums
  MlpPasses passes_;
};

}  // namespace cosdt::agents
