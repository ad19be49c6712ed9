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

std::unique_ptr<CriticLearner> MakeCriticLearner(Agent& agent) {
  ActorCritic* const networks = agent.actor_critic();
  const AgentOptions& options = agent.options();
  if (!networks) {
    throw std::invalid_argument("training: expected an agent with critics, found " +
                                options.name());
  }
  if (options.kind == "iql") return std::make_unique<IqlLearner>(*networks, options.iql);
  if (options.kind == "rebrac") return std::make_unique<Td3Learner>(*networks, options.rebrac);
  return std::make_unique<Td3Learner>(*networks, options.td3bc);
}

}  // namespace cosdt::agents
