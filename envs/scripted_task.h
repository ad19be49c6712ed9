#pragma once

#include <span>
#include <string>

#include "envs/env.h"

namespace cosdt::envs {

// A task without a simulator, in full. An observation is
//   the shown() values that the task shows,
//   what it hides, such as velocities,
//   the action that the task's script takes next, which knows everything (EnvSpec::shows_script).
// Actions have one value. The task itself is PartialObservation (body_tasks.h) of the first
// shown() values.
class ScriptedTask : public Env {
 public:
  const EnvSpec& spec() const final { return spec_; }
  int shown() const { return shown_; }

  void Reset(uint64_t seed) final;
  StepResult Step(std::span<const double> action) final;
  void Observe(std::span<double> observation) const final;

 protected:
  // `spec` with everything but the sizes. Constructors of tasks call Reset, so that there is always
  // an episode.
  ScriptedTask(EnvSpec spec, int shown, int hidden);

  // Draws the episode.
  virtual void Begin(Rng& rng) = 0;

  // Takes a step. steps() does not count it yet.
  virtual StepResult Advance(double action) = 0;

  // Writes what is shown and what is hidden, of values that are 0 on entry.
  virtual void WriteState(std::span<double> state) const = 0;

  // Not called after the last step.
  virtual double ScriptedAction() const = 0;

  // Steps taken in the episode.
  int steps() const { return steps_; }

  // Starts an episode that is drawn already.
  void Restart();

 private:
  EnvSpec spec_;
  int shown_;
  int steps_ = 0;
  bool ended_ = false;
};

}  // namespace cosdt::envs
