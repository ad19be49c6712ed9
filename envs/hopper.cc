#include "envs/hopper.h"

#include <algorithm>
#include <cmath>

#include "envs/embedded.h"

namespace cosdt::envs {

std::string Hopper::Mjcf(Physics) { return kHopperXml; }

Hopper::Hopper(Physics physics)
    : UprightEnv({.name = "hopper",
                  .observation_size = 11,
                  .action_size = 3,
                  .horizon = 1000,
                  .score_range = ScoreRange{-20.272305, 3234.3}},
                 physics, CompileModel(Mjcf(physics), physics), /*frame_skip=*/4) {}

bool Hopper::IsHealthy() const {
  // written so that a comparison with NaN is false
  const auto within_100 = [](double x) { return std::abs(x) < 100; };
  return std::isfinite(qpos()[0]) && qpos()[1] > 0.7 && std::isfinite(qpos()[1]) &&
         std::abs(qpos()[2]) < 0.2 && std::ranges::all_of(qpos().subspan(2), within_100) &&
         std::ranges::all_of(qvel(), within_100);
}

}  // namespace cosdt::envs
