#include "agents/models/actions.h"

#include <stdexcept>
#include <string>

namespace cosdt::agents {

using torch::Tensor;

void ValidateActions(const char* agent, int64_t action_size, int64_t discrete_actions) {
  const auto fail = [&](const char* name, const char* expected, int64_t found) {
    throw std::invalid_argument(std::string(agent) + ": " + name + ": expected " + expected +
                                ", found " + std::to_string(found));
  };
  if (action_size < 1) fail("action_size", "at least 1", action_size);
  if (discrete_actions < 0) fail("discrete_actions", "0 or more", discrete_actions);
  if (discrete_actions > 0 && action_size != 1) {
    fail("action_size", "1 of discrete actions", action_size);
  }
}

Tensor EncodeActions(const Tensor& actions, int64_t discrete_actions) {
  if (discrete_actions == 0) return actions;
  const Tensor indices = torch::arange(discrete_actions, actions.options());
  return actions.eq(indices).to(actions.scalar_type());
}

Tensor ActionLoss(const Tensor& outputs, const Tensor& actions, const Tensor& mask,
                  int64_t discrete_actions) {
  if (discrete_actions > 0) {
    const Tensor log = torch::log_softmax(outputs, -1);
    const Tensor losses = -(log * EncodeActions(actions, discrete_actions)).sum(-1);
    if (!mask.defined()) return losses.mean();
    const Tensor real = mask.to(losses.scalar_type());
    return (losses * real).sum() / real.sum();
  }
  const Tensor squares = (outputs - actions).square();
  if (!mask.defined()) return squares.mean();
  const Tensor real = mask.unsqueeze(-1).to(squares.scalar_type());
  return (squares * real).sum() / (real.sum() * squares.size(-1));
}

}  // namespace cosdt::agents
