#pragma once

#include <memory>
#include <string>

#include "envs/mujoco_env.h"

namespace cosdt::envs {

// A two-legged half cheetah that is paid for running forward. Observation and reward are those of
// gym's half_cheetah_v3.py and gymnasium's half_cheetah_v4.py and half_cheetah_v5.py:
//   observation  17: qpos[1:], qvel
//   action       6: torques of thigh, shin and foot, back then front, in [-1, 1]
//   reward       dx/dt - 0.1 |a|^2
//   terminated   never
class HalfCheetah : public MujocoEnv {
 public:
  explicit HalfCheetah(Physics physics);

  // Its MJCF, with exact inertias.
  static std::string Mjcf(Physics physics);

  std::unique_ptr<Env> Clone() const override { return std::make_unique<HalfCheetah>(*this); }

 private:
  void WriteObservation(std::span<double> observation) const override;
  void SampleState(InitialNoise& noise, std::span<double> qpos,
                   std::span<double> qvel) const override;
  double Reward(double velocity, double squared_action) const override;
};

}  // namespace cosdt::envs
