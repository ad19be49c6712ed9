#include "envs/walker2d.h"

#include <mujoco/mujoco.h>

#include <algorithm>
#include <cmath>

#include "envs/embedded.h"

namespace cosdt::envs {
namespace {

ModelPtr Compile(Physics physics) {
  ModelPtr model = CompileModel(kWalker2dXml, physics);
  if (physics == Physics::kGymnasiumV5) {
    // version 5 gave the right foot the friction of the left one
    const int right = mj_name2id(model.get(), mjOBJ_GEOM, "foot");
    const int left = mj_name2id(model.get(), mjOBJ_GEOM, "foot_left");
    mju_copy3(model->geom_friction + 3 * right, model->geom_friction + 3 * left);
  }
  return model;
}

}  // namespace

Walker2d::Walker2d(Physics physics)
    : MujocoEnv({.name = "walker2d",
                 .observation_size = 17,
                 .action_size = 6,
                 .horizon = 1000,
                 .score_range = ScoreRange{1.629008, 4592.3}},
                physics, Compile(physics), /*frame_skip=*/4) {}

void Walker2d::WriteObservation(std::span<double> observation) const {
  auto out = std::ranges::copy(qpos().subspan(1), observation.begin()).out;
  for (const double v : qvel()) *out++ = std::clamp(v, -10.0, 10.0);
}

void Walker2d::SampleState(InitialNoise& noise, std::span<double> qpos,
                           std::span<double> qvel) const {
  for (double& q : qpos) q = noise.Uniform(-0.005, 0.005);
  qpos[1] += 1.25;
  for (double& v : qvel) v = noise.Uniform(-0.005, 0.005);
}

bool Walker2d::IsHealthy() const {
  return qpos()[1] > 0.8 && qpos()[1] < 2.0 && std::abs(qpos()[2]) < 1.0;
}

double Walker2d::Reward(double velocity, double squared_action) const {
  return velocity + HealthyReward() - 1e-3 * squared_action;
}

}  // namespace cosdt::envs
