#pragma once

#include <memory>
#include <string>

#include "envs/upright_env.h"

namespace cosdt::envs {

// A two-legged walker that is paid for moving forward. Observation, reward and termination are
// those of gym's walker2d_v3.py and gymnasium's walker2d_v4.py and walker2d_v5.py:
//   observation  17 values
//   action       6: torques of thigh, leg and foot, right then left, in [-1, 1]
//   terminated   unless z is in (0.8, 2) and the angle in (-1, 1)
class Walker2d : public UprightEnv {
 public:
  explicit Walker2d(Physics physics);

  // Its MJCF, with exact inertias.
  static std::string Mjcf(Physics physics);

  std::unique_ptr<Env> Clone() const override { return std::make_unique<Walker2d>(*this); }

 private:
  bool IsHealthy() const override;
};

}  // namespace cosdt::envs
