#pragma once

#include <memory>
#include <span>
#include <string>

#include "envs/task.h"

namespace cosdt::envs {

// Tasks that take memory, made of a body. Returns, and with them D4RL's scores, are the body's.

// Shows `count` values of the body's observation from index `first` on, such as its positions,
// which leave out how fast the body moves, or its velocities, which leave out how it stands. The
// same of a ScriptedTask.
class PartialObservation : public Task {
 public:
  PartialObservation(std::string name, const Env& body, int first, int count);
  std::unique_ptr<Env> Clone() const override {
    return std::make_unique<PartialObservation>(*this);
  }

 private:
  void WriteObservation(std::span<const double> seen, std::span<double> observation) const override;

  int first_;
};

// After each step, shows zeros in place of the observation with a probability of `percent` %. One
// more value at the end is 1 if the observation was dropped, else 0. The first observation of
// an episode is never dropped.
class DroppedObservations : public Task {
 public:
  DroppedObservations(std::string name, const Env& body, int percent);
  std::unique_ptr<Env> Clone() const override {
    return std::make_unique<DroppedObservations>(*this);
  }

 private:
  void Begin(uint64_t seed) override;
  StepResult TransformResult(const StepResult& step) override;
  void WriteObservation(std::span<const double> seen, std::span<double> observation) const override;

  double probability_;
  Rng rng_;
  bool dropped_ = false;
};

// Pays the sum of an episode's rewards with its last step, whether it terminates or is truncated,
// and nothing before.
class DelayedReward : public Task {
 public:
  DelayedReward(std::string name, const Env& body);
  std::unique_ptr<Env> Clone() const override { return std::make_unique<DelayedReward>(*this); }

 private:
  void Begin(uint64_t seed) override;
  StepResult TransformResult(const StepResult& step) override;
  void WriteObservation(std::span<const double> seen, std::span<double> observation) const override;

  double sum_ = 0;
};

}  // namespace cosdt::envs
