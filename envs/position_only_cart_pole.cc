#include "envs/position_only_cart_pole.h"

#include <cmath>
#include <numbers>
#include <random>

namespace cosdt::envs {
namespace {

constexpr int kCartPoleSteps[] = {200, 400, 600};

// gymnasium/envs/classic_control/cartpole.py
constexpr double kGravity = 9.8, kPoleMass = 0.1, kTotalMass = 1.0 + kPoleMass;
constexpr double kHalfLength = 0.5, kPoleMassLength = kPoleMass * kHalfLength;
constexpr double kForce = 10, kCartPoleSeconds = 0.02, kMaxPosition = 2.4;
constexpr double kMaxAngle = 12 * 2 * std::numbers::pi / 360;

}  // namespace

PositionOnlyCartPole::PositionOnlyCartPole(Level level)
    : ScriptedTask({.name = LevelName(kName, level),
                    .discrete_actions = 2,
                    .horizon = AtLevel(kCartPoleSteps, level),
                    .target_return = 1.0},
                   /*shown=*/2, /*hidden=*/2) {
  Reset(0);
}

void PositionOnlyCartPole::SetState(std::span<const double, 4> state) {
  position_ = state[0];
  velocity_ = state[1];
  angle_ = state[2];
  angular_velocity_ = state[3];
}

void PositionOnlyCartPole::Begin(Rng& rng) {
  std::uniform_real_distribution<double> uniform(-0.05, 0.05);
  for (double* x : {&position_, &velocity_, &angle_, &angular_velocity_}) *x = uniform(rng);
}

StepResult PositionOnlyCartPole::Advance(double action) {
  const double force = action == 1 ? kForce : -kForce;
  const double cosine = std::cos(angle_), sine = std::sin(angle_);
  const double push =
      (force + kPoleMassLength * (angular_velocity_ * angular_velocity_) * sine) / kTotalMass;
  const double angular_acceleration =
      (kGravity * sine - cosine * push) /
      (kHalfLength * (4.0 / 3.0 - kPoleMass * (cosine * cosine) / kTotalMass));
  const double acceleration = push - kPoleMassLength * angular_acceleration * cosine / kTotalMass;
  position_ += kCartPoleSeconds * velocity_;
  velocity_ += kCartPoleSeconds * acceleration;
  angle_ += kCartPoleSeconds * angular_velocity_;
  angular_velocity_ += kCartPoleSeconds * angular_acceleration;
  return {.reward = 1.0 / spec().horizon,
          .terminated = std::abs(position_) > kMaxPosition || std::abs(angle_) > kMaxAngle,
          .truncated = steps() + 1 == spec().horizon};
}

void PositionOnlyCartPole::WriteState(std::span<double> state) const {
  state[0] = position_;
  state[1] = angle_;
  state[2] = velocity_;
  state[3] = angular_velocity_;
}

// The linear-quadratic regulator's direction for these masses, rounded.
double PositionOnlyCartPole::ScriptedAction() const {
  return position_ + 1.7 * velocity_ + 20 * angle_ + 3.5 * angular_velocity_ > 0;
}

}  // namespace cosdt::envs
