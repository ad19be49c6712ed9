#pragma once

#include <memory>
#include <span>
#include <string>

#include "envs/env.h"

namespace cosdt::envs {

// A task made of another environment, fully_observed(), by changing what is shown of its
// observations or paid of its rewards. Actions, episodes and their ends are the other's.
class Task : public Env {
 public:
  const EnvSpec& spec() const final { return spec_; }
  const Env& fully_observed() const final { return *full_; }
  bool diverged() const final { return full_->diverged(); }

  void Reset(uint64_t seed) final;
  void ResetFrom(InitialNoise& noise, uint64_t seed) final;
  StepResult Step(std::span<const double> action) final;
  void Observe(std::span<double> observation) const final;

 protected:
  // Works on a copy of `full`. The spec is its, with the name and the size of what is shown.
  Task(std::string name, const Env& full, int observation_size);
  Task(const Task& other);

  // Draws what the task itself draws in an episode, from streams of `seed` other than 0, which is
  // the other environment's.
  virtual void Begin(uint64_t /*seed*/) {}

  // Called after a step with what it gave. Returns what the task gives.
  virtual StepResult TransformResult(const StepResult& step) { return step; }

  // Writes what is shown of `seen`, the other environment's observation.
  virtual void WriteObservation(std::span<const double> seen,
                                std::span<double> observation) const = 0;

 private:
  std::unique_ptr<Env> full_;
  EnvSpec spec_;
};

}  // namespace cosdt::envs
