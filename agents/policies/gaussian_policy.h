#pragma once

#include <torch/torch.h>

#include <memory>
#include <string>

#include "agents/policies/policy.h"
#include "datasets/policy_file.h"

namespace cosdt::agents {

// The tanh Gaussian policy of SAC (arXiv 1812.05905, appendix C) in D4RL's sizes:
//   h = relu(fc1 relu(fc0 x)),  a = tanh(mean(h) + exp(clamp(log_std(h), -20, 2)) eps)
// with mean = last_fc, log_std = last_fc_log_std; deterministic: a = tanh(mean(h)).
class GaussianPolicy : public Policy {
 public:
  // float32 on the CPU.
  GaussianPolicy(const datasets::PolicyWeights& weights, bool deterministic);

  // log_probs are those of the tanh Gaussian even if the policy is deterministic.
  void Act(std::span<const float> observations, std::span<envs::Rng* const> rngs,
           std::span<float> actions, std::span<float> log_probs = {}) override;

 private:
  struct Layer {
    torch::Tensor weight;  // [inputs, outputs]
    torch::Tensor bias;    // [outputs]
    torch::Tensor operator()(const torch::Tensor& x) const { return torch::addmm(bias, x, weight); }
  };

  Layer fc0_, fc1_, mean_, log_std_;
  bool deterministic_;
  torch::Tensor block_;  // [kBlockRows, observation_size], scratch
};

// Reads a policy file. Throws FileError if its shapes do not fit the environment.
std::unique_ptr<Policy> LoadGaussianPolicy(const datasets::Hdf5File& file,
                                           const envs::EnvSpec& spec, bool deterministic);

}  // namespace cosdt::agents
