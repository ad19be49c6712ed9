// How a step's return-to-go, observation and action become 3, 2 or 1 tokens of a Decision
// Transformer (DecisionTransformerOptions::tokens). A token is the sum of its inputs' embeddings
// and the timestep's:
//   3  return-to-go; observation; action            (Chen et al. 2021, arXiv 2106.01345)
//   2  return-to-go and observation; action
//   1  return-to-go, observation and the action of the step before, zeros at an episode's first
//      (the single token of UDT, arXiv 2510.21448, with the action that it was decided after)
// The action is predicted from the observation's token.
#pragma once

#include <cstdint>

#include "agents/kernels/host_device.h"

namespace cosdt::agents::step_tokens {

// A step's inputs in the order of their embeddings.
inline constexpr int kReturnToGo = 0, kObservation = 1, kAction = 2, kInputs = 3;

// Which of a step's `tokens` an input belongs to.
COSDT_BOTH int64_t TokenOf(int input, int64_t tokens) {
  return tokens == 3 ? input : tokens == 2 ? input / 2 : 0;
}

// The token that an action is predicted from.
COSDT_BOTH int64_t DecidingToken(int64_t tokens) { return TokenOf(kObservation, tokens); }

// Whether a step's action input is that of the step before.
COSDT_BOTH bool ReadsActionBefore(int64_t tokens) { return tokens == 1; }

}  // namespace cosdt::agents::step_tokens
