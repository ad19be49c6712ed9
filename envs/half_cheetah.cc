#include "envs/half_cheetah.h"

#include <algorithm>

#include "envs/embedded.h"

namespace cosdt::envs {

std::string HalfCheetah::Mjcf(Physics) { return kHalfCheetahXml; }

HalfCheetah::HalfCheetah(Physics physics)
    : MujocoEnv({.name = "halfcheetah",
                 .observation_size = 17,
                 .action_size = 6,
                 .horizon = 1000,
                 .score_range = ScoreRange{-280.178953, 12135.0}},
                physics, CompileModel(Mjcf(physics), physics), /*frame_skip=*/5) {}

void HalfCheetah::WriteObservation(std::span<double> observation) const {
  const auto out = std::ranges::copy(qpos().subspan(1), observation.begin()).out;
  std::ranges::copy(qvel(), out);
}

void HalfCheetah::SampleState(InitialNoise& noise, std::span<double> qpos,
                              std::span<double> qvel) const {
  for (double& q : qpos) q = noise.Uniform(-0.1, 0.1);
  for (double& v : qvel) v = 0.1 * noise.Normal();
}

double HalfCheetah::Reward(double velocity, double squared_action) const {
  return velocity - 0.1 * squared_action;
}

}  // namespace cosdt::envs
