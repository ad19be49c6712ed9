#include "envs/upright_env.h"

#include <algorithm>

namespace cosdt::envs {

void UprightEnv::WriteObservation(std::span<double> observation) const {
  auto out = std::ranges::copy(qpos().subspan(1), observation.begin()).out;
  for (const double v : qvel()) *out++ = std::clamp(v, -10.0, 10.0);
}

void UprightEnv::SampleState(InitialNoise& noise, std::span<double> qpos,
                             std::span<double> qvel) const {
  for (double& q : qpos) q = noise.Uniform(-0.005, 0.005);
  qpos[1] += 1.25;
  for (double& v : qvel) v = noise.Uniform(-0.005, 0.005);
}

double UprightEnv::Reward(double velocity, double squared_action) const {
  const double healthy = physics() != Physics::kGymnasiumV5 || IsHealthy() ? 1 : 0;
  return velocity + healthy - 1e-3 * squared_action;
}

}  // namespace cosdt::envs
