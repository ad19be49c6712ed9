#pragma once

#include <torch/torch.h>

#include <concepts>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "agents/behaviour/sac_update.h"
#include "agents/mlp/learned.h"
#include "agents/mlp/mlp_stack.h"
#include "datasets/policy_file.h"
#include "envs/env.h"

namespace cosdt::agents {

// D4RL's hyperparameters (rlkit, examples/sac.py; arXiv 1812.05905, table 1).
struct SacOptions {
  int64_t hidden = 256;  // width of both layers, of policy and critics: a multiple of 16
  int64_t batch_size = 256;
  double lr = 3e-4;     // of policy, critics and temperature
  double tau = 0.005;   // share of the critics that the targets take over at each update
  double gamma = 0.99;  // discount

  // Throws std::invalid_argument naming the field.
  void Validate() const;
};

// Calls visit(name, field) for every field; the names are those in a run's state.
template <class Options, class Visitor>
  requires std::same_as<std::remove_const_t<Options>, SacOptions>
void Visit(Options& o, const Visitor& visit) {
  visit("hidden", o.hidden);
  visit("batch_size", o.batch_size);
  visit("lr", o.lr);
  visit("tau", o.tau);
  visit("gamma", o.gamma);
}

// Soft actor-critic (arXiv 1812.05905) as D4RL's data was made with: two critics with slow targets,
// a tanh Gaussian policy (see GaussianPolicy), a temperature that is learned towards an entropy of
// -action_size. All losses of an update are computed before any parameter changes (rlkit's order,
// rlkit/torch/sac/sac.py, but for the temperature, which changes with the rest). Everything is
// float32 on the CPU; the bits are the same for any number of LibTorch's threads.
class Sac {
 public:
  // Initializes as torch.nn.Linear does, from `seed`; the targets begin as the critics.
  Sac(const envs::EnvSpec& spec, const SacOptions& options, uint64_t seed);

  const SacOptions& options() const { return options_; }

  // Writes the losses' gradients into policy(), critics() and temperature_gradient(). `noise` is
  // standard normal, [2 batch, action_size]: rows for the observations, then for the next ones.
  SacLosses ComputeGradients(const SacBatch& batch, const torch::Tensor& noise);

  // One update by Adam with the gradients that are there, then the targets follow.
  void Step();

  // The stochastic action at `observation` [observation_size], with the log of its density.
  float Act(std::span<const float> observation, envs::Rng& rng, std::span<float> action);

  // The policy as D4RL's files keep it.
  datasets::PolicyWeights weights() const;

  const MlpStack& policy() const { return policy_; }
  const MlpStack& critics() const { return critics_; }
  const MlpStack& targets() const { return targets_; }
  float temperature_gradient() const { return temperature_gradient_.item<float>(); }

  // Everything that an update changes, by name, for saving and loading: views, not copies.
  NamedTensors State() const;

 private:
  Sac(const envs::EnvSpec& spec, const SacOptions& options, const torch::Generator& generator);

  int64_t observation_size_, action_size_;
  SacOptions options_;
  MlpStack policy_;             // members 1, outputs 2 action_size: means, then log stds
  MlpStack critics_, targets_;  // members 2, inputs observation and action
  torch::Tensor log_alpha_, temperature_gradient_;  // [1]
  Learned learned_policy_, learned_critics_, learned_temperature_;
  SacUpdate update_;
  kernels::Floats act_memory_;
  SampledActions act_;
};

}  // namespace cosdt::agents
