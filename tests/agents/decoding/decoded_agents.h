// Small agents, and episodes that they are decoded on.
#pragma once

#include <torch/torch.h>

#include <span>
#include <string>

#include "agents/models/agent.h"
#include "tests/agents/training/small_batch.h"

namespace cosdt::agents {

inline constexpr int64_t kContext = 24;  // more tokens than the kernels' blocks have
inline constexpr int64_t kSteps = 60;
inline constexpr int64_t kObservations = 5, kActions = 2;

inline AgentOptions SmallAgent(const std::string& kind, const std::string& feature_map = "elu",
                               int64_t tokens = 3, double half_life = 0) {
  AgentOptions options;
  options.dt = SmallOptions(kind);
  options.dt.attention.feature_map = feature_map;
  options.dt.context = kContext;
  options.dt.max_timestep = kSteps - 7;  // some timesteps are clamped
  options.dt.tokens = tokens;
  options.dt.attention.half_life = half_life;
  // recurrent decoding needs one more than an episode has, unless weights decay
  options.dt.attention.reweight_length = tokens * kSteps + (half_life > 0 ? 0 : 1);
  return options;
}

inline void Roughen(Agent& agent) {
  torch::manual_seed(7);
  const torch::NoGradGuard no_grad;
  for (torch::Tensor& p : agent.module().parameters()) p += torch::randn_like(p) * 0.2;
  agent.module().eval();
}

// The inputs of every row, and how it is decoded.
struct Episodes {
  explicit Episodes(int64_t rows, int64_t steps = kSteps)
      : returns_to_go(torch::rand({steps, rows}) * 3),
        observations(torch::randn({steps, rows, kObservations})) {}
  torch::Tensor returns_to_go, observations;
};

inline std::span<float> Span(const torch::Tensor& x) {
  return {x.data_ptr<float>(), static_cast<size_t>(x.numel())};
}

}  // namespace cosdt::agents
