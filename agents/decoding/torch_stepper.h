// The Decision Transformer fed token by token: what a policy needs to act without computing its
// context again.
#pragma once

#include <torch/torch.h>

#include <memory>
#include <vector>

#include "agents/models/decision_transformer.h"

namespace cosdt::agents {

// The memory of a batch of episodes that are decoded in lock step. An environment step is two
// calls:
//   torch::Tensor actions = state.Observe(returns_to_go, observations, timesteps);
//   state.Act(actions);
// Predictions equal the parallel form's over the whole episode so far (to rounding). Constant time
// and memory a step for the kinds whose states are. The model must outlive this object; its
// parameters' type and device are those of the computation.
class TorchStepper {
 public:
  // All rows are at the beginning of an episode. The attention limits how long a row may grow
  // (cosformer: reweight_length tokens). `model` must have no dropout active (eval()).
  TorchStepper(DecisionTransformer model, int64_t batch);

  TorchStepper(const TorchStepper&) = delete;
  TorchStepper& operator=(const TorchStepper&) = delete;

  // The next return-to-go [batch], scaled, observation [batch, observation_size], normalised, and
  // timestep [batch] (int64, clamped) of every row. Returns the actions predicted, [batch,
  // action_size]. Throws c10::Error for other shapes, and where the attention is full.
  torch::Tensor Observe(const torch::Tensor& returns_to_go, const torch::Tensor& observations,
                        const torch::Tensor& timesteps);

  // What every row did, [batch, action_size]: follows each Observe; rows that are Reset before the
  // next may hold any number. Throws c10::Error for another shape and out of turn.
  void Act(const torch::Tensor& actions);

  // Begins a new episode in these rows with the next Observe; the others go on. Throws
  // c10::IndexError for a row outside the batch.
  void Reset(const std::vector<int64_t>& rows);

  std::unique_ptr<TorchStepper> Copy() const;

  // Memory of the attention states.
  int64_t bytes() const;

  int64_t batch() const { return batch_; }

 private:
  DecisionTransformer model_;
  int64_t batch_;
  std::vector<std::unique_ptr<attention::AttentionState>> states_;  // one a layer
  // Actions wait for the next step's tokens: a product of three tokens is cheaper than three.
  torch::Tensor actions_, timesteps_;
  std::vector<int64_t> resets_;  // rows that begin anew behind the waiting actions
};

}  // namespace cosdt::agents
