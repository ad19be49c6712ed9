#include "envs/walked_tmaze.h"

#include <cstdlib>
#include <random>
#include <utility>

namespace cosdt::envs {

WalkedTMaze::WalkedTMaze(std::string name, int horizon, int shown)
    : ScriptedTask({.name = std::move(name),
                    .discrete_actions = 4,
                    .horizon = horizon,
                    .success_return = 1.0},
                   shown, /*hidden=*/0) {}

void WalkedTMaze::Enter(int corridor, Rng& rng) {
  corridor_ = corridor;
  x_ = y_ = 0;
  goal_ = std::bernoulli_distribution(0.5)(rng) ? 1 : -1;
}

void WalkedTMaze::Move(int action) {
  const int x = x_ + (action == kRight) - (action == kLeft);
  const int y = y_ + (action == kUp) - (action == kDown);
  const bool in_corridor = y == 0 && x >= 0 && x <= corridor_;
  const bool in_arm = x == corridor_ && std::abs(y) == 1;
  if (!in_corridor && !in_arm) return;
  x_ = x;
  y_ = y;
}

double WalkedTMaze::ScriptedAction() const {
  if (x_ < corridor_) return kRight;
  return goal_ > y_ ? kUp : kDown;
}

RateTMaze::RateTMaze(std::string name, int steps, bool varied, bool noise)
    : WalkedTMaze(std::move(name), steps, noise ? 4 : 3), varied_(varied), noise_(noise) {
  Reset(0);
}

void RateTMaze::Begin(Rng& rng) {
  const int most = spec().horizon - 2;
  const int corridor = varied_ ? std::uniform_int_distribution<int>(1, most)(rng) : most;
  Enter(corridor, rng);
  noise_rng_ = rng;
  DrawNoise();
}

void RateTMaze::DrawNoise() {
  if (noise_) noise_value_ = std::uniform_int_distribution<int>(-1, 1)(noise_rng_);
}

StepResult RateTMaze::Advance(double action) {
  Move(static_cast<int>(action));
  DrawNoise();
  const bool done = y() != 0 || steps() + 1 == corridor() + 2;
  return {.reward = done && y() == goal() ? 1.0 : 0.0, .terminated = done};
}

void RateTMaze::WriteState(std::span<double> state) const {
  state[0] = y();
  state[1] = steps() == 0 ? goal() : 0;
  state[2] = x() == corridor();
  if (noise_) state[3] = noise_value_;
}

MemoryRlTMaze::MemoryRlTMaze(std::string name, int corridor)
    : WalkedTMaze(std::move(name), corridor + 1, /*shown=*/2) {
  Reset(0);
}

StepResult MemoryRlTMaze::Advance(double action) {
  Move(static_cast<int>(action));
  const int steps_now = steps() + 1;
  if (steps_now == spec().horizon) {
    return {.reward = y() == goal() ? 1.0 : 0.0, .terminated = true};
  }
  return {.reward = x() < steps_now ? -1.0 / corridor() : 0.0};
}

void MemoryRlTMaze::WriteState(std::span<double> state) const {
  const bool at_end = x() == corridor();
  state[0] = at_end;
  state[1] = at_end ? y() : steps() == 0 ? goal() : 0;
}

}  // namespace cosdt::envs
