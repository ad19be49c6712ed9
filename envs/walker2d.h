#pragma once

#include <memory>

#include "envs/mujoco_env.h"

namespace cosdt::envs {

// A two-legged walker that is paid for moving forward. Observation, reward and termination are
// those of gym's walker2d_v3.py and gymnasium's walker2d_v4.py and walker2d_v5.py:
//   observation  17: qpos[1:], qvel clipped to [-10, 10]
//   action       6: torques of thigh, leg and foot, right then left, in [-1, 1]
//   reward       dx/dt + 1 - 0.001 |a|^2
//   terminated   unless z is in (0.8, 2) and the angle in (-1, 1)
class Walker2d : public MujocoEnv {
 public:
  explicit Walker2d(Physics physics);
  std::unique_ptr<Env> Clone() const override { return std::make_unique<Walker2d>(*this); }

 private:
  void WriteObservation(std::span<double> observation) const override;
  void SampleState(InitialNoise& noise, std::span<double> qpos,
                   std::span<double> qvel) const override;
  bool IsHealthy() const override;
  double Reward(double velocity, double squared_action) const override;
};

}  // namespace cosdt::envs
