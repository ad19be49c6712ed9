#include "envs/env.h"

#include <cmath>
#include <sstream>
#include <stdexcept>

namespace cosdt::envs {

namespace {

// seed_seq mixes the words, so that neighboring seeds and streams share nothing
std::seed_seq Words(uint64_t seed, uint64_t stream) {
  return {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32),
          static_cast<uint32_t>(stream), static_cast<uint32_t>(stream >> 32)};
}

}  // namespace

Rng MakeRng(uint64_t seed, uint64_t stream) {
  std::seed_seq words = Words(seed, stream);
  return Rng(words);
}

uint64_t StreamSeed(uint64_t seed, uint64_t stream) { return MakeRng(seed, stream)(); }

std::string ActionSpace(const EnvSpec& spec) {
  if (spec.discrete_actions == 0) return "";
  return "Discrete(" + std::to_string(spec.discrete_actions) + ")";
}

void CheckAction(const EnvSpec& spec, std::span<const double> action) {
  if (static_cast<int>(action.size()) != spec.action_size) {
    throw std::invalid_argument(spec.name + ": action: expected " +
                                std::to_string(spec.action_size) + " values, found " +
                                std::to_string(action.size()));
  }
  if (const int n = spec.discrete_actions; n > 0) {
    if (action[0] >= 0 && action[0] < n && action[0] == std::floor(action[0])) return;
    std::ostringstream found;
    found << action[0];
    throw std::invalid_argument(spec.name + ": action: expected an integer from 0 to " +
                                std::to_string(n - 1) + ", found " + found.str());
  }
  for (size_t i = 0; i < action.size(); ++i) {
    if (std::isfinite(action[i])) continue;
    throw std::invalid_argument(spec.name + ": action: expected finite values, found " +
                                std::to_string(action[i]) + " at index " + std::to_string(i));
  }
}

void CheckObservationSize(const EnvSpec& spec, std::span<const double> observation) {
  if (static_cast<int>(observation.size()) == spec.observation_size) return;
  throw std::invalid_argument(spec.name + ": observation: expected room for " +
                              std::to_string(spec.observation_size) + " values, found " +
                              std::to_string(observation.size()));
}

void Env::ResetFrom(InitialNoise&, uint64_t) {
  throw std::logic_error(spec().name + ": an initial state is drawn, and there is no body");
}

double NormalizedScore(const ScoreRange& range, double episode_return) {
  return 100.0 * (episode_return - range.min) / (range.max - range.min);
}

}  // namespace cosdt::envs
