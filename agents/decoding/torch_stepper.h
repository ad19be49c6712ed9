// The Decision Transformer fed token by token: what a policy needs to act without computing its
// context again.
#pragma once

#include <torch/torch.h>

#include <memory>
#include <vector>

#include "agents/models/decision_transformer.h"

namespace cosdt::agents {

// The memory of a batch of episodes that are decoded in lock step, from their beginning. An
// environment step is two calls:
//   torch::Tensor actions = stepper.Observe(returns_to_go, observations, timesteps);
//   stepper.Act(actions);
// Predictions equal the parallel form's over the whole episode so far (to rounding). Time and
// memory per step are constant for the attention kinds whose states are. The parameters' type and
// device are those of the computation.
class TorchStepper {
 public:
  // The attention limits how many steps there may be (cosformer: reweight_length tokens). `model`
  // must have no dropout active (eval()). `previous_actions` [batch, action_size], those before the
  // first step of this memory, are read with one token per step; undefined: zeros.
  TorchStepper(DecisionTransformer model, int64_t batch, torch::Tensor previous_actions = {});

  // The next return-to-go [batch], scaled, observation [batch, observation_size], normalised, and
  // timestep [batch] (int64, clamped) of every row. Returns the outputs [batch,
  // action_features]: actions, or logits of discrete ones. Throws c10::Error for other shapes,
  // before an Act that is due, and if the attention is full.
  torch::Tensor Observe(const torch::Tensor& returns_to_go, const torch::Tensor& observations,
                        const torch::Tensor& timesteps);

  // The actions that the rows took, [batch, action_size]: follows each Observe. Throws c10::Error
  // for another shape and out of turn.
  void Act(const torch::Tensor& actions);

 private:
  // A step's tokens [batch, 1 to 3, width] in the sequence's order: the last actions' if they have
  // one of their own, then those up to the one that the next actions are predicted from.
  torch::Tensor Embed(const torch::Tensor& returns_to_go, const torch::Tensor& observations,
                      const torch::Tensor& timesteps);

  DecisionTransformer model_;
  int64_t batch_;
  std::vector<std::unique_ptr<attention::AttentionState>> states_;  // one per layer
  // Actions wait for the next step's tokens: a product of three tokens is cheaper than three.
  torch::Tensor actions_, timesteps_;
};

}  // namespace cosdt::agents
