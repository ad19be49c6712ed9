#pragma once

#include <memory>
#include <span>

#include "envs/level.h"
#include "envs/scripted_task.h"

namespace cosdt::envs {

// POPGym's PositionOnlyPendulum (popgym/envs/position_only_pendulum.py): gymnasium's Pendulum
// without its velocity.
//   observation  2: cosine and sine of the angle, which is 0 upright
//   action       1: the torque in units of 2 N m, clipped to [-1, 1]; POPGym's action is twice ours
//   reward       (1 - cost / 8.1368022) / horizon, with
//                cost = angle^2 + 0.1 velocity^2 + 0.001 torque^2 before the step
//   truncated    after 200, 150 and 100 steps
// The full observation adds the velocity and the torque of a script that pumps energy until the
// pendulum is nearly upright and holds it there.
class PositionOnlyPendulum : public ScriptedTask {
 public:
  static constexpr char kName[] = "popgym-position-only-pendulum";

  explicit PositionOnlyPendulum(Level level);
  std::unique_ptr<Env> Clone() const override {
    return std::make_unique<PositionOnlyPendulum>(*this);
  }

  // Sets the angle and the velocity, in an episode that stays the same.
  void SetState(std::span<const double, 2> state);

 private:
  void Begin(Rng& rng) override;
  StepResult Advance(double action) override;
  void WriteState(std::span<double> state) const override;
  double ScriptedAction() const override;

  double angle_ = 0, velocity_ = 0;
};

}  // namespace cosdt::envs
