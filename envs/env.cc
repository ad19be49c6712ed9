#include "envs/env.h"

namespace cosdt::envs {

namespace {

// seed_seq mixes the words, so that neighbouring seeds and streams share nothing
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

double NormalizedScore(const ScoreRange& range, double episode_return) {
  return 100.0 * (episode_return - range.min) / (range.max - range.min);
}

}  // namespace cosdt::envs
