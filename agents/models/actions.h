// Actions as agents see them. Continuous ones are values in (-1, 1). One of n (gymnasium's
// Discrete(n)) is its index, one value, in data and in environments; as input of an agent it is a
// one-hot vector, which makes a linear layer a table of embeddings, and an agent's outputs are
// logits.
#pragma once

#include <torch/torch.h>

#include <cstdint>

namespace cosdt::agents {

// The index that stands for no action: before an episode's first.
inline constexpr float kNoAction = -1;

// Values of an action as an agent's input and output.
inline int64_t ActionFeatures(int64_t action_size, int64_t discrete_actions) {
  return discrete_actions > 0 ? discrete_actions : action_size;
}

// Throws std::invalid_argument, naming the agent, unless there is an action: continuous of at least
// one value, or discrete of one.
void ValidateActions(const char* agent, int64_t action_size, int64_t discrete_actions);

// An agent's inputs [.., features] of actions [.., action_size]. kNoAction is all zeros.
torch::Tensor EncodeActions(const torch::Tensor& actions, int64_t discrete_actions);

// The training loss of an agent's outputs [.., features] for actions [.., action_size], over all
// real steps, true in `mask` [..], which may be undefined: the mean of the squared differences of
// continuous actions' values, or the mean cross entropy.
torch::Tensor ActionLoss(const torch::Tensor& outputs, const torch::Tensor& actions,
                         const torch::Tensor& mask, int64_t discrete_actions = 0);

}  // namespace cosdt::agents
