#pragma once

#include <memory>
#include <string>

#include "envs/scripted_task.h"

namespace cosdt::envs {

// T-mazes that are walked: a corridor of cells x = 0 .. corridor with a junction at its end, whose
// arms are y = 1 and y = -1. An agent that sees the goal's arm at x = 0 at the start moves by four
// actions; a move into a wall leaves it there.
//   action  Discrete(4): right, up (y + 1), left, down (y - 1)
// The full observation adds the script's move: right, then to the goal.
class WalkedTMaze : public ScriptedTask {
 public:
  static constexpr int kRight = 0, kUp = 1, kLeft = 2, kDown = 3;

 protected:
  // `horizon` is the longest episode.
  WalkedTMaze(std::string name, int horizon, int shown);

  // Starts at x = 0 with a random goal.
  void Enter(int corridor, Rng& rng);

  void Move(int action);
  double ScriptedAction() const final;

  int corridor() const { return corridor_; }
  int x() const { return x_; }
  int y() const { return y_; }
  int goal() const { return goal_; }  // 1 or -1, a y

 private:
  int corridor_ = 0, x_ = 0, y_ = 0, goal_ = 1;
};

// RATE's T-maze (Cherepanov et al., arXiv 2306.09459; src/envs/tmaze of CognitiveAISystems/RATE).
//   observation  3: y, the goal at step 0 (else 0), 1 at the end of the corridor (else 0);
//                with noise a fourth, -1, 0 or 1 at random
//   reward       1 with the last step if it ends at the goal, else 0
//   terminated   in an arm, or after corridor + 2 steps
// `steps` is the published T: a corridor of T - 2 cells behind the start, so that the script takes
// T - 1 steps. If `varied`, each episode draws its corridor from 1 to T - 2, as RATE's training
// data do.
class RateTMaze : public WalkedTMaze {
 public:
  static constexpr int kMinSteps = 3, kMaxSteps = 9600;

  RateTMaze(std::string name, int steps, bool varied, bool noise);
  std::unique_ptr<Env> Clone() const override { return std::make_unique<RateTMaze>(*this); }

 private:
  void Begin(Rng& rng) override;
  StepResult Advance(double action) override;
  void WriteState(std::span<double> state) const override;
  void DrawNoise();

  bool varied_, noise_;
  Rng noise_rng_;
  int noise_value_ = 0;
};

// Memory-RL's passive T-maze (Ni et al. 2023, arXiv 2307.03864; envs/tmaze.py of
// twni2016/Memory-RL).
//   observation  2: 1 from the junction on (else 0), the goal at step 0, y from the junction on
//   reward       1 with the last step if it ends at the goal's y, else 0; each other step after
//                which x is less than the number of steps costs 1 / corridor
//   terminated   after corridor + 1 steps
class MemoryRlTMaze : public WalkedTMaze {
 public:
  static constexpr int kMinCorridor = 1, kMaxCorridor = 1500;

  MemoryRlTMaze(std::string name, int corridor);
  std::unique_ptr<Env> Clone() const override { return std::make_unique<MemoryRlTMaze>(*this); }

 private:
  void Begin(Rng& rng) override { Enter(spec().horizon - 1, rng); }
  StepResult Advance(double action) override;
  void WriteState(std::span<double> state) const override;
};

}  // namespace cosdt::envs
