#include "agents/critics/learner.h"

#include <cmath>
#include <stdexcept>

#include "agents/critics/iql_learner.h"
#include "agents/critics/td3_learner.h"

namespace cosdt::agents {

bool IsGood(const CriticLosses& losses, double largest_q) {
  return std::isfinite(losses.critic + losses.gradient_norm + losses.actor.value_or(0) +
                       losses.value.value_or(0)) &&
         losses.q <= largest_q;
}

std::unique_ptr<CriticLearner> MakeCriticLearner(Agent& agent, BatchShare& share) {
  ActorCritic* const networks = agent.actor_critic();
  const AgentOptions& options = agent.options();
  if (!networks) {
    throw std::invalid_argument("training: expected an agent with critics, found " +
                                options.name());
  }
  if (options.kind == "iql") return std::make_unique<IqlLearner>(*networks, options.iql, share);
  if (options.kind == "rebrac")
    return std::make_unique<Td3Learner>(*networks, options.rebrac, share);
  return std::make_unique<Td3Learner>(*networks, options.td3bc, share);
}

torch::Tensor MakeMessage(std::initializer_list<MlpStack*> stacks, int64_t more) {
  int64_t size = more + BatchShare::kNotes, begin = 0;
  for (const MlpStack* stack : stacks) size += stack->gradients().numel();
  const torch::Tensor message = torch::zeros(size);
  for (MlpStack* stack : stacks) {
    const int64_t count = stack->gradients().numel();
    stack->PlaceGradients(message.narrow(0, begin, count));
    begin += count;
  }
  return message;
}

}  // namespace cosdt::agents
