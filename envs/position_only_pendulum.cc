#include "envs/position_only_pendulum.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <random>

namespace cosdt::envs {
namespace {

constexpr int kPendulumSteps[] = {200, 150, 100};

// gymnasium/envs/classic_control/pendulum.py, with mass and length 1
constexpr double kPendulumGravity = 10, kPendulumSeconds = 0.05, kMaxTorque = 2, kMaxVelocity = 8;

// POPGym's lowest reward of a step before it is scaled to [-1, 1]
constexpr double kLowestReward = -16.2736044;

// To [-pi, pi).
double Normalized(double angle) {
  const double turn = 2 * std::numbers::pi;
  return angle - turn * std::floor((angle + std::numbers::pi) / turn);
}

}  // namespace

PositionOnlyPendulum::PositionOnlyPendulum(Level level)
    : ScriptedTask({.name = LevelName(kName, level),
                    .horizon = AtLevel(kPendulumSteps, level),
                    .target_return = 1.0},
                   /*shown=*/2, /*hidden=*/1) {
  Reset(0);
}

void PositionOnlyPendulum::SetState(std::span<const double, 2> state) {
  angle_ = state[0];
  velocity_ = state[1];
}

void PositionOnlyPendulum::Begin(Rng& rng) {
  angle_ = std::uniform_real_distribution<double>(-std::numbers::pi, std::numbers::pi)(rng);
  velocity_ = std::uniform_real_distribution<double>(-1, 1)(rng);
}

StepResult PositionOnlyPendulum::Advance(double action) {
  const double torque = kMaxTorque * std::clamp(action, -1.0, 1.0);
  const double angle = Normalized(angle_);
  const double cost = angle * angle + 0.1 * velocity_ * velocity_ + 0.001 * torque * torque;
  velocity_ += (1.5 * kPendulumGravity * std::sin(angle_) + 3 * torque) * kPendulumSeconds;
  velocity_ = std::clamp(velocity_, -kMaxVelocity, kMaxVelocity);
  angle_ += velocity_ * kPendulumSeconds;
  const double half = -kLowestReward / 2;
  return {.reward = (half - cost) / half / spec().horizon,
          .truncated = steps() + 1 == spec().horizon};
}

void PositionOnlyPendulum::WriteState(std::span<double> state) const {
  state[0] = std::cos(angle_);
  state[1] = std::sin(angle_);
  state[2] = velocity_;
}

double PositionOnlyPendulum::ScriptedAction() const {
  const double angle = Normalized(angle_);
  // conserved without torque, and kUpright at rest upright
  constexpr double kUpright = 1.5 * kPendulumGravity;
  const double energy = velocity_ * velocity_ / 2 + kUpright * std::cos(angle);
  double torque = -10 * angle - 3 * velocity_;
  if (std::abs(angle) > 0.4) torque = (kUpright - energy) * (velocity_ < 0 ? -1 : 1);
  return std::clamp(torque / kMaxTorque, -1.0, 1.0);
}

}  // namespace cosdt::envs
