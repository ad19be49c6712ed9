#include "envs/hopper.h"

#include <algorithm>
#include <cmath>

#include "envs/embedded.h"

namespace cosdt::envs {

Hopper::Hopper(Physics physics)
    : MujocoEnv({.name = "hopper",
                 .observation_size = 11,
                 .action_size = 3,
                 .horizon = 1000,
                 .score_range = ScoreRange{-20.272305, 3234.3}},
                physics, CompileModel(kHopperXml, physics), /*frame_skip=*/4) {}

void Hopper::WriteObservation(std::span<double> observation) const {
  auto out = std::ranges::copy(qpos().subspan(1), observation.begin()).out;
  for (const double v : qvel()) *out++ = std::clamp(v, -10.0, 10.0);
}

void Hopper::SampleState(InitialNoise& noise, std::span<double> qpos,
                         std::span<double> qvel) const {
  for (double& q : qpos) q = noise.Uniform(-0.005, 0.005);
  qpos[1] += 1.25;
  for (double& v : qvel) v = noise.Uniform(-0.005, 0.005);
}

bool Hopper::IsHealthy() const {
  // written so that a comparison with NaN is false
  const auto within_100 = [](double x) { return std::abs(x) < 100; };
  return std::isfinite(qpos()[0]) && qpos()[1] > 0.7 && std::isfinite(qpos()[1]) &&
         std::abs(qpos()[2]) < 0.2 && std::ranges::all_of(qpos().subspan(2), within_100) &&
         std::ranges::all_of(qvel(), within_100);
}

double Hopper::Reward(double velocity, double squared_action) const {
  return velocity + HealthyReward() - 1e-3 * squared_action;
}

}  // namespace cosdt::envs
