// Trainers of a small Decision Transformer, and two of them compared.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>

#include "tests/agents/training/small_training.h"

namespace cosdt::agents {

inline AgentOptions SmallTransformer(const std::string& attention = "cosformer",
                                     const std::string& activation = "relu") {
  AgentOptions options = SmallAgent("dt");
  options.dt.heads = 2;
  options.dt.width = 32;
  options.dt.attention.kind = attention;
  options.dt.activation = activation;
  return options;
}

inline AgentOptions SmallDiscreteAgent(const std::string& kind = "dt") {
  AgentOptions options = kind == "dt" ? SmallTransformer() : SmallAgent(kind);
  options.SetSizes(3, 1, 4);
  return options;
}

struct TransformerShape {
  int64_t layers, context, heads, width, max_timestep;
  double dropout;

  AgentOptions Options() const {
    AgentOptions agent = SmallTransformer();
    agent.dt.layers = layers;
    agent.dt.context = context;
    agent.dt.heads = heads;
    agent.dt.width = width;
    agent.dt.max_timestep = max_timestep;
    agent.dt.dropout = dropout;
    return agent;
  }
};

inline std::unique_ptr<Trainer> MakeTrainer(const AgentOptions& agent_options,
                                            const TrainerOptions& options, UpdatePath path,
                                            const datasets::Episodes& episodes,
                                            const torch::Device& device = torch::kCPU) {
  torch::manual_seed(11);
  const std::shared_ptr<Agent> agent = MakeAgent(agent_options);
  agent->module().to(device);
  datasets::Normalizer normalizer;
  normalizer.mean.assign(episodes.observation_size, 0.1f);
  normalizer.std.assign(episodes.observation_size, 1.1f);
  return std::make_unique<Trainer>(agent, episodes, normalizer, options, path);
}

// The largest difference of a parameter.
inline double Distance(Trainer& a, Trainer& b) {
  const auto pa = a.agent().module().parameters(), pb = b.agent().module().parameters();
  double most = 0;
  for (size_t i = 0; i < pa.size(); ++i) {
    most = std::max(most, (pa[i].cpu() - pb[i].cpu()).abs().max().item<double>());
  }
  return most;
}

// Expects updates by `path` to be autograd's, on the same windows with the same dropout.
inline void ExpectAutogradsTraining(UpdatePath path, const AgentOptions& agent,
                                    const TrainerOptions& options, int updates, double tolerance) {
  const datasets::Episodes episodes =
      agent.discrete_actions() > 0 ? MakeDiscreteEpisodes() : MakeEpisodes();
  const auto ours = MakeTrainer(agent, options, path, episodes);
  const auto theirs = MakeTrainer(agent, options, UpdatePath::kAutograd, episodes);
  for (int i = 0; i < updates; ++i) {
    const UpdateResult a = ours->Update(), b = theirs->Update();
    EXPECT_EQ(a.update, b.update);
    EXPECT_EQ(a.learning_rate, b.learning_rate);
    ASSERT_NEAR(a.loss, b.loss, tolerance * b.loss) << "update " << a.update;
    ASSERT_NEAR(a.gradient_norm, b.gradient_norm, 10 * tolerance * b.gradient_norm)
        << "update " << a.update;
  }
  EXPECT_LT(Distance(*ours, *theirs), 5 * tolerance);
}

}  // namespace cosdt::agents
