#include "envs/env.h"

namespace cosdt::envs {

Rng MakeRng(uint64_t seed, uint64_t stream) {
  // seed_seq mixes the words, so that neighbouring seeds and streams share nothing
  std::seed_seq words{static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32),
                      static_cast<uint32_t>(stream), static_cast<uint32_t>(stream >> 32)};
  return Rng(words);
}

double NormalizedScore(const ScoreRange& range, double episode_return) {
  return 100.0 * (episode_return - range.min) / (range.max - range.min);
}

}  // namespace cosdt::envs
