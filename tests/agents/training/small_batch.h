// A small random batch for tests of the Decision Transformer.
#pragma once

#include <torch/torch.h>

#include <vector>

#include "agents/models/decision_transformer.h"

namespace cosdt::agents {

struct SmallBatch {
  torch::Tensor returns_to_go, observations, actions, timesteps, mask;
};

// One row for each number of real steps; padding stands on the left and is zero, as the window
// sampler writes it.
inline SmallBatch MakeSmallBatch(const DecisionTransformerOptions& options,
                                 const std::vector<int64_t>& real_steps,
                                 torch::ScalarType type = torch::kFloat32) {
  const auto batch = static_cast<int64_t>(real_steps.size());
  const int64_t steps = options.context;
  SmallBatch b;
  b.mask = torch::arange(steps).unsqueeze(0) >= steps - torch::tensor(real_steps).unsqueeze(1);
  const torch::Tensor real = b.mask.unsqueeze(-1).to(type);
  b.returns_to_go = torch::rand({batch, steps}).to(type) * 3 * real.squeeze(-1);
  b.observations = torch::randn({batch, steps, options.observation_size}).to(type) * real;
  b.actions = (torch::rand({batch, steps, options.action_size}).to(type) * 2 - 1) * real;
  const torch::Tensor start = torch::randint(0, options.max_timestep, {batch, 1});
  b.timesteps = (start + torch::arange(steps)) * b.mask;
  return b;
}

inline DecisionTransformerOptions SmallOptions(const std::string& kind) {
  DecisionTransformerOptions options;
  options.observation_size = 5;
  options.action_size = 2;
  options.layers = 2;
  options.heads = 2;
  options.width = 16;
  options.context = 6;
  options.max_timestep = 40;
  options.attention.kind = kind;
  return options;
}

}  // namespace cosdt::agents
