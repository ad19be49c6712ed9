#pragma once

#include <memory>
#include <string>

#include "envs/upright_env.h"

namespace cosdt::envs {

// A one-legged hopper that is paid for moving forward. Observation, reward and termination are
// those of gym's hopper_v3.py and gymnasium's hopper_v4.py and hopper_v5.py:
//   observation  11 values
//   action       3: torques of thigh, leg and foot, in [-1, 1]
//   terminated   unless z > 0.7, |angle| < 0.2, and every other value of the state is within 100
class Hopper : public UprightEnv {
 public:
  explicit Hopper(Physics physics);

  // Its MJCF, with exact inertias.
  static std::string Mjcf(Physics physics);

  std::unique_ptr<Env> Clone() const override { return std::make_unique<Hopper>(*this); }

 private:
  bool IsHealthy() const override;
};

}  // namespace cosdt::envs
