#include "envs/half_cheetah.h"

#include <algorithm>

#include "envs/embedded.h"

namespace cosdt::envs {

HalfCheetah::HalfCheetah(Physics physics)
    : MujocoEnv({.name = "halfcheetah",
                 .observation_size = 17,
                 .action_size = 6,
                 .horizon = 1000,
                 .score_range = ScoreRange{-280.178953, 12135.0}},
                physics, CompileModel(kHalfCheetahXml, physics), /*frame_skip=*/5) {}

void HalfCheetah::WriteObservation(std::span<double> observation) const {
  const auto out = std::ranges::copy(qpos().subspan(1), observation.begin()).out;
  std::ranges::copy(qvel(), out);
}

void HalfCheetah::SampleState(Rng& rng, std::span<double> qpos, std::span<double> qvel) const {
  std::uniform_real_distribution<double> position(-0.1, 0.1);
  std::normal_distribution<double> velocity(0.0, 0.1);
  for (double& q : qpos) q = position(rng);
  for (double& v : qvel) v = velocity(rng);
}

double HalfCheetah::Reward(double velocity, double control_cost) const {
  return velocity - 0.1 * control_cost;
}

}  // namespace cosdt::envs
