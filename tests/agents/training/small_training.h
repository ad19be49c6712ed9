// A small dataset, agent and training for tests.
#pragma once

#include <cmath>
#include <random>
#include <string>

#include "agents/training/trainer.h"

namespace cosdt::agents {

// Episodes of several lengths in which the action is a function of the observation.
inline datasets::Episodes MakeEpisodes() {
  datasets::Episodes e;
  e.observation_size = 3;
  e.action_size = 2;
  std::mt19937 rng(1);
  std::normal_distribution<float> normal;
  for (const size_t length : {4, 30, 11, 25, 2}) {
    for (size_t t = 0; t < length; ++t) {
      const float a = normal(rng), b = normal(rng), c = normal(rng);
      e.observations.insert(e.observations.end(), {a, b, c});
      e.actions.insert(e.actions.end(), {0.8f * std::tanh(a), -0.5f * std::tanh(b)});
      e.rewards.push_back(1);
    }
    e.offsets.push_back((e.offsets.empty() ? 0 : e.offsets.back()) + length);
    e.endings.push_back(datasets::Ending::kTerminal);
  }
  e.offsets.insert(e.offsets.begin(), 0);
  e.returns_to_go.resize(e.rewards.size());
  e.returns.resize(e.endings.size());
  datasets::SumReturns(e);
  return e;
}

// The same with one of four actions instead: by the signs of the continuous one.
inline datasets::Episodes MakeDiscreteEpisodes() {
  datasets::Episodes e = MakeEpisodes();
  for (size_t row = 0; row < e.rewards.size(); ++row) {
    e.actions[row] =
        (e.actions[2 * row] > 0 ? 2.0f : 0.0f) + (e.actions[2 * row + 1] > 0 ? 1.0f : 0.0f);
  }
  e.actions.resize(e.rewards.size());
  e.action_size = 1;
  e.discrete_actions = 4;
  return e;
}

inline AgentOptions SmallAgent(const std::string& kind) {
  AgentOptions options;
  options.kind = kind;
  options.dt.layers = 2;
  options.dt.width = 16;
  options.dt.context = 5;
  options.dt.max_timestep = 30;
  options.bc.width = 32;
  options.td3bc.width = options.rebrac.width = options.iql.width = 16;
  options.SetSizes(3, 2);
  return options;
}

inline TrainerOptions FastTraining() {
  TrainerOptions options;
  options.batch_size = 16;
  options.learning_rate = 3e-3;
  options.warmup = 10;
  options.seed = 5;
  return options;
}

}  // namespace cosdt::agents
