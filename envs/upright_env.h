#pragma once

#include "envs/mujoco_env.h"

namespace cosdt::envs {

// What hopper and walker2d share, the bodies that fall: observation, initial states and reward of
// gym's hopper_v3.py and walker2d_v3.py and of gymnasium's versions 4 and 5:
//   observation  qpos[1:], qvel clipped to [-10, 10]
//   reward       dx/dt + 1 - 0.001 |a|^2; version 5 withholds the 1 on the terminating step
class UprightEnv : public MujocoEnv {
 protected:
  using MujocoEnv::MujocoEnv;

 private:
  void WriteObservation(std::span<double> observation) const final;
  void SampleState(InitialNoise& noise, std::span<double> qpos, std::span<double> qvel) const final;
  double Reward(double velocity, double squared_action) const final;
};

}  // namespace cosdt::envs
