#include "agents/models/candidate_critic.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <stdexcept>
#include <string>

#include "agents/mlp/mlp_passes.h"

namespace cosdt::agents {

CandidateCritic::CandidateCritic(const Checkpoint& critic, int candidates)
    : agent_(critic.agent), normalizer_(critic.info.normalizer), candidates_(candidates) {
  if (candidates < 1) {
    throw std::invalid_argument("candidates: expected at least 1, found " +
                                std::to_string(candidates));
  }
  if (!agent_->options().has_critics()) {
    throw std::invalid_argument("critic: expected an agent of td3bc, rebrac or iql, found " +
                                agent_->options().name());
  }
}

double CandidateCritic::Share(int i) const {
  return candidates_ == 1 ? 1 : 1 - 0.5 * i / (candidates_ - 1);
}

void CandidateCritic::ExpectFits(const AgentOptions& agent) const {
  if (!agent.reads_targets() || agent.discrete_actions() > 0) {
    throw std::invalid_argument(
        "candidates: expected an agent with targets and continuous actions, found " +
        (agent.reads_targets() ? "Discrete(" + std::to_string(agent.discrete_actions()) + ")"
                               : agent.name()));
  }
  const auto sizes = [](const AgentOptions& options) {
    return std::to_string(options.observation_size()) + " observations and " +
           std::to_string(options.action_size()) + " actions";
  };
  const std::string expected = sizes(agent), found = sizes(agent_->options());
  if (expected == found) return;
  throw std::invalid_argument("critic: expected one for " + expected + ", found one for " + found);
}

void CandidateCritic::Choose(std::span<const double> observations, std::span<envs::Rng> draws,
                             std::span<float> actions) const {
  const auto o = static_cast<size_t>(agent_->options().observation_size()),
             a = static_cast<size_t>(agent_->options().action_size());
  const auto n = static_cast<size_t>(candidates_);
  const size_t rows = actions.size() / a;
  std::vector<float> pairs(rows * (o + a)), values(rows), observation(o);
  for (size_t row = 0; row < rows; ++row) {
    float* const pair = pairs.data() + row * (o + a);
    std::ranges::copy(observations.subspan(row / n * o, o), observation.begin());
    normalizer_.Apply(observation, {pair, o});
    std::ranges::copy(actions.subspan(row * a, a), pair + o);
  }
  MlpPasses passes;
  passes.Begin(static_cast<int64_t>(rows));
  passes.SmallestOutputs(agent_->actor_critic()->critics,
                         {pairs.data(), static_cast<ptrdiff_t>(o + a)}, values.data());
  std::vector<double> weights(n);
  for (size_t episode = 0; episode < draws.size(); ++episode) {
    const std::span own = std::span(values).subspan(episode * n, n);
    const auto bad = std::ranges::find_if_not(own, [](float x) { return std::isfinite(x); });
    if (bad != own.end()) {
      throw std::runtime_error("critic: expected finite values of actions, found " +
                               std::to_string(*bad));
    }
    const float most = std::ranges::max(own);
    std::ranges::transform(own, weights.begin(),
                           [&](float x) { return std::exp(double{x} - most); });
    std::discrete_distribution<size_t> draw(weights.begin(), weights.end());
    const std::span proposed = actions.subspan(episode * n * a, n * a);
    const size_t chosen = draw(draws[episode]);
    const std::vector<float> action(proposed.begin() + static_cast<ptrdiff_t>(chosen * a),
                                    proposed.begin() + static_cast<ptrdiff_t>((chosen + 1) * a));
    for (size_t i = 0; i < n; ++i) {
      std::ranges::copy(action, proposed.begin() + static_cast<ptrdiff_t>(i * a));
    }
  }
}

}  // namespace cosdt::agents
