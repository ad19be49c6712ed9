#include "envs/walker2d.h"

#include <mujoco/mujoco.h>

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
    : UprightEnv({.name = "walker2d",
                  .observation_size = 17,
                  .action_size = 6,
                  .horizon = 1000,
                  .score_range = ScoreRange{1.629008, 4592.3}},
                 physics, Compile(physics), /*frame_skip=*/4) {}

bool Walker2d::IsHealthy() const {
  return qpos()[1] > 0.8 && qpos()[1] < 2.0 && std::abs(qpos()[2]) < 1.0;
}

}  // namespace cosdt::envs
