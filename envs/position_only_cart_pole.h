#pragma once

#include <array>
#include <memory>
#include <span>

#include "envs/level.h"
#include "envs/scripted_task.h"

namespace cosdt::envs {

// POPGym's PositionOnlyCartPole (popgym/envs/position_only_cartpole.py): gymnasium's CartPole
// without its velocities.
//   observation  2: the cart's position in m, the pole's angle in rad
//   action       Discrete(2): a push of 10 N to the left (0) or right (1) for 0.02 s
//   reward       1 / horizon, with the last step, too
//   terminated   beyond 2.4 m or 12 degrees
//   truncated    after 200, 400 and 600 steps
// The full observation adds the velocities and a linear controller's push.
class PositionOnlyCartPole : public ScriptedTask {
 public:
  static constexpr char kName[] = "popgym-position-only-cart-pole";

  explicit PositionOnlyCartPole(Level level);
  std::unique_ptr<Env> Clone() const override {
    return std::make_unique<PositionOnlyCartPole>(*this);
  }

  // Sets position, velocity, angle and angular velocity, in an episode that stays the same.
  void SetState(std::span<const double, 4> state);

 private:
  void Begin(Rng& rng) override;
  StepResult Advance(double action) override;
  void WriteState(std::span<double> state) const override;
  double ScriptedAction() const override;

  double position_ = 0, velocity_ = 0, angle_ = 0, angular_velocity_ = 0;
};

}  // namespace cosdt::envs
