#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "envs/gym_noise.h"
#include "envs/vector_env.h"

namespace cosdt::envs {

// How the initial states of a run's episodes follow from its seed.
//   kStreams  each episode has a stream of its own (StreamSeed)
//   kGym      episode i begins as the i-th reset() after env.seed(seed) did in gym up to 0.21: one
//             environment, one episode after the other, as published evaluations were played
enum class Seeding { kStreams, kGym };

inline constexpr Seeding kAllSeedings[] = {Seeding::kStreams, Seeding::kGym};

// "streams", "gym".
const char* SeedingName(Seeding seeding);

// The reverse; throws std::invalid_argument that lists the names.
Seeding ParseSeeding(std::string_view name);

// Starts the episodes of a run.
class EpisodeStarts {
 public:
  // Throws std::invalid_argument if kGym is asked of a task without a body.
  EpisodeStarts(const EnvSpec& spec, Seeding seeding, uint64_t seed);

  // Starts `episode` in a row. With kGym, each target's episodes are started in order, from 0 on or
  // a later one.
  void Start(VectorEnv& envs, int row, int episode);

 private:
  Seeding seeding_;
  uint64_t seed_;
  int next_ = 0;
  std::optional<GymNoise> gym_;
};

}  // namespace cosdt::envs
