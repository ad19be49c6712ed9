#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "agents/kernels/gemm.h"
#include "agents/processes/batch_share.h"
#include "datasets/episodes.h"
#include "datasets/normalizer.h"
#include "envs/env.h"

namespace cosdt::agents {

inline constexpr double kDiscount = 0.99;

// A batch of transitions as learners take them, float32.
struct TransitionBatch {
  int64_t rows = 0;
  kernels::Floats pairs;         // [rows, observation, then action], observations normalized
  kernels::Floats next_pairs;    // [rows, next observation, then a place for an action]
  kernels::Floats next_actions;  // [rows, action_size], of the data
  kernels::Floats rewards;       // [rows]
  kernels::Floats discounts;     // [rows]: kDiscount, or 0 after a terminal

  void Require(int64_t rows, int64_t observation_size, int64_t action_size);
};

// A dataset's transitions, as D4RL's qlearning_dataset has them: a row's next observation and next
// action are those of the row behind it; the last row of an episode that no terminal ends has none
// and is left out; a timeout is no terminal. (D4RL also leaves out the file's last row.)
class Transitions {
 public:
  // Rewards are multiplied by `reward_scale`. `episodes` must outlive this object. Throws
  // std::invalid_argument naming array, row and value if one is not finite or an action is outside
  // [-1, 1], if actions are discrete, and if no transition is left.
  Transitions(const datasets::Episodes& episodes, datasets::Normalizer normalizer,
              double reward_scale = 1);

  int64_t size() const { return static_cast<int64_t>(rows_.size()); }

  // The largest absolute reward / (1 - discount): no value of a policy is beyond it.
  double largest_value() const { return largest_value_; }

  // Draws a whole batch of transitions, each equally likely, with replacement, and copies the
  // share.
  void Draw(const BatchShare& share, envs::Rng& rng, TransitionBatch& batch) const;

  // The transition of a row of the episodes, written to place `i`.
  void Copy(size_t row, int64_t i, TransitionBatch& batch) const;

 private:
  const datasets::Episodes& episodes_;
  datasets::Normalizer normalizer_;
  float reward_scale_;
  double largest_value_ = 0;
  std::vector<uint32_t> rows_;     // that have a transition
  std::vector<bool> is_terminal_;  // [rows of the episodes]
};

// 1000 / (best - worst return), IQL's and CORL's scale of locomotion rewards. Returns are those of
// whole episodes (CORL joins the ones that timeouts cut). Throws std::invalid_argument if all
// returns are equal.
double RewardScale(const datasets::Episodes& episodes);

}  // namespace cosdt::agents
