#pragma once

#include "agents/critics/learner.h"
#include "agents/mlp/mlp_passes.h"
#include "agents/models/actor_critic.h"

namespace cosdt::agents {

// Implicit Q-learning (arXiv 2110.06169, equations 5 to 7), all losses with the value network as it
// was before the update:
//   u = min Q'(s, a) - V(s),   L_V = mean of |expectile - (u < 0)| u^2
//   L_Q = mean of (Q(s, a) - r - discount V(s'))^2, also over the two critics
//   L_actor = mean of min(exp(beta u), 100) times -log N(a; tanh(actor(s)), exp(log_std)^2), or
//             |tanh(actor(s)) - a|^2 of a deterministic actor
// log_std is a parameter, clamped to [-20, 2]. The slow copies Q' take over the share tau.
class IqlLearner : public CriticLearner {
 public:
  IqlLearner(ActorCritic& agent, const IqlOptions& options, BatchShare& share);

  CriticLosses Update(TransitionBatch& batch, std::span<const float> noise,
                      const LearningRates& rates, double largest_q) override;
  NamedTensors State() const override;

  // Of log_std, [action_size].
  const torch::Tensor& log_std_gradients() const { return log_std_gradients_; }

 private:
  void ComputeCriticGradients(TransitionBatch& batch, CriticLosses& losses);
  void ComputeValueGradients(TransitionBatch& batch, CriticLosses& losses);
  void ComputeActorGradients(TransitionBatch& batch, CriticLosses& losses);

  IqlOptions options_;
  ActorCritic& agent_;
  BatchShare& share_;
  MlpStack slow_critics_;
  Learned learned_actor_, learned_critics_, learned_value_;
  std::optional<Learned> learned_log_std_;
  torch::Tensor message_;            // all gradients
  torch::Tensor log_std_gradients_;  // [action_size]
  MlpPasses passes_;
  kernels::Floats targets_, values_, weights_;  // [rows]; weights: of the actor's rows
};

}  // namespace cosdt::agents
