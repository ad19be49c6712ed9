#pragma once

#include <memory>
#include <span>

#include "envs/task.h"

namespace cosdt::envs {

// A corridor that ends in a junction of two arms, one of which is right. A sign at the start tells
// which (Bakker 2001, "Reinforcement learning with long short-term memory"). The agent is moved
// along, whatever it does, so that the task is one of memory: the passive T-maze of Ni et al.
// 2023, "When do transformers shine in RL?", arXiv 2307.03864.
//   observation  2: the sign, -1 or 1, at step 0 and 0 after it; 1 at the junction, else 0
//   action       1: its sign chooses the arm (0 is negative); read at the junction only
//   reward       1 for the last step of an episode that took the right arm, else 0
//   terminated   after the start, `corridor` steps and the junction: corridor + 2 steps
// A window that reaches from the junction to the sign is corridor + 2 steps long. The full
// environment shows the sign everywhere.
class TMaze : public Task {
 public:
  // The values of an observation.
  static constexpr int kSign = 0, kJunction = 1;

  explicit TMaze(int corridor);
  std::unique_ptr<Env> Clone() const override { return std::make_unique<TMaze>(*this); }

 private:
  void Begin(uint64_t seed) override;
  StepResult TransformResult(const StepResult& step) override;
  void WriteObservation(std::span<const double> seen, std::span<double> observation) const override;

  bool at_start_ = true;
};

}  // namespace cosdt::envs
