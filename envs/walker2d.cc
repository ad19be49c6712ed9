#include "envs/walker2d.h"

#include <cmath>
#include <stdexcept>

#include "envs/embedded.h"

namespace cosdt::envs {

std::string Walker2d::Mjcf(Physics physics) {
  std::string mjcf = kWalker2dXml;
  if (physics == Physics::kGymnasiumV5) {
    // version 5 gave the right foot the friction of the left one
    const std::string left = " friction=\"1.9 .1 .1\"", right = "<geom name=\"foot\"";
    if (mjcf.find(left) == std::string::npos) throw std::logic_error("walker2d: no left foot");
    mjcf.insert(mjcf.find(right) + right.size(), left);
  }
  return mjcf;
}

Walker2d::Walker2d(Physics physics)
    : UprightEnv({.name = "walker2d",
                  .observation_size = 17,
                  .action_size = 6,
                  .horizon = 1000,
                  .score_range = ScoreRange{1.629008, 4592.3}},
                 physics, CompileModel(Mjcf(physics), physics), /*frame_skip=*/4) {}

bool Walker2d::IsHealthy() const {
  return qpos()[1] > 0.8 && qpos()[1] < 2.0 && std::abs(qpos()[2]) < 1.0;
}

}  // namespace cosdt::envs
