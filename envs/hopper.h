#pragma once

#include <memory>

#include "envs/mujoco_env.h"

namespace cosdt::envs {

// A one-legged hopper that is paid for moving forward. Observation, reward and termination are
// those of gym's hopper_v3.py and gymnasium's hopper_v4.py and hopper_v5.py:
//   observation  11: qpos[1:], qvel clipped to [-10, 10]
//   action       3: torques of thigh, leg and foot, in [-1, 1]
//   reward       dx/dt + 1 - 0.001 |a|^2
//   terminated   unless z > 0.7, |angle| < 0.2, and every other value of the state is within 100
class Hopper : public MujocoEnv {
 public:
  explicit Hopper(Physics physics);
  std::unique_ptr<Env> Clone() const override { return std::make_unique<Hopper>(*this); }

 private:
  void WriteObservation(std::span<double> observation) const override;
  void SampleState(InitialNoise& noise, std::span<double> qpos,
                   std::span<double> qvel) const override;
  bool IsHealthy() const override;
  double Reward(double velocity, double squared_action) const override;
};

}  // namespace cosdt::envs
