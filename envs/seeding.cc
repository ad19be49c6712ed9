#include "envs/seeding.h"

#include <stdexcept>
#include <string>

namespace cosdt::envs {

const char* SeedingName(Seeding seeding) {
  switch (seeding) {
    case Seeding::kStreams:
      return "streams";
    case Seeding::kGym:
      return "gym";
  }
  throw std::logic_error("unknown seeding");
}

Seeding ParseSeeding(std::string_view name) {
  std::string known;
  for (const Seeding seeding : kAllSeedings) {
    if (name == SeedingName(seeding)) return seeding;
    known += (known.empty() ? "" : ", ") + std::string(SeedingName(seeding));
  }
  throw std::invalid_argument("seeding: expected one of " + known + ", found '" +
                              std::string(name) + "'");
}

EpisodeStarts::EpisodeStarts(const EnvSpec& spec, Seeding seeding, uint64_t seed)
    : seeding_(seeding), seed_(seed) {
  if (seeding == Seeding::kGym && spec.step_seconds == 0) {
    throw std::invalid_argument("seeding: expected streams for " + spec.name +
                                ", which has no body, found gym");
  }
}

void EpisodeStarts::Start(VectorEnv& envs, int row, int episode) {
  const uint64_t own = StreamSeed(seed_, episode);
  if (seeding_ == Seeding::kStreams) return envs.Reset(row, own);
  if (!gym_ || episode < next_) {
    gym_.emplace(seed_);
    next_ = 0;
  }
  // those that are played elsewhere come first, too
  for (; next_ <= episode; ++next_) envs.ResetFrom(row, *gym_, own);
}

}  // namespace cosdt::envs
