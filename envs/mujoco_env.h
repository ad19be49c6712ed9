#pragma once

#include <memory>
#include <span>
#include <vector>

#include "envs/env.h"
#include "envs/model.h"

typedef struct mjData_ mjData;

namespace cosdt::envs {

// The common part of the three bodies: a model, one simulation state, the order of calls of gym's
// MujocoEnv (gym/envs/mujoco/mujoco_env.py) and the episode's bookkeeping. A body adds its initial
// states, its observation, reward and termination.
class MujocoEnv : public Env {
 public:
  const EnvSpec& spec() const final { return spec_; }
  Physics physics() const { return physics_; }

  void Reset(uint64_t seed) final;
  void ResetFrom(InitialNoise& noise, uint64_t seed) final;
  StepResult Step(std::span<const double> action) final;
  void Observe(std::span<double> observation) const final;
  bool diverged() const final { return diverged_; }

  // Sizes of qpos and qvel.
  int nq() const;
  int nv() const;
  std::span<const double> qpos() const;
  std::span<const double> qvel() const;

  // Puts the simulation into a state, as at the start of an episode: warm starts are cleared and
  // the steps are counted from 0. Throws std::invalid_argument if sizes differ from nq() and
  // nv(), or a value is not finite.
  void SetState(std::span<const double> qpos, std::span<const double> qvel);

  // Writes the state to spans of nq() and nv() values.
  void GetState(std::span<double> qpos, std::span<double> qvel) const;

  // For rendering.
  const mjModel* model() const { return model_.get(); }
  const mjData* data() const { return data_.get(); }

 protected:
  MujocoEnv(EnvSpec spec, Physics physics, ModelPtr model, int frame_skip);
  MujocoEnv(const MujocoEnv& other);

  // Draws the initial state: all of qpos, then all of qvel.
  virtual void SampleState(InitialNoise& noise, std::span<double> qpos,
                           std::span<double> qvel) const = 0;

  // Writes the current observation, observation_size values.
  virtual void WriteObservation(std::span<double> observation) const = 0;

  // Whether the episode continues from the current state.
  virtual bool IsHealthy() const { return true; }

  // The reward of the step that ended in the current state. `velocity` is the mean of dx/dt over
  // the step in m/s; `squared_action` the sum of the squared actions, without its weight.
  virtual double Reward(double velocity, double squared_action) const = 0;

 private:
  void CheckStateSizes(size_t qpos, size_t qvel) const;

  EnvSpec spec_;
  Physics physics_;
  ModelPtr model_;
  std::unique_ptr<mjData, void (*)(mjData*)> data_;
  int frame_skip_;
  int steps_ = 0;
  bool diverged_ = false;
  std::vector<double> qpos_before_;
  std::vector<double> qvel_before_;
};

}  // namespace cosdt::envs
