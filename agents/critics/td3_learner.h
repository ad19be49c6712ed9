#pragma once

#include "agents/critics/learner.h"
#include "agents/mlp/mlp_passes.h"
#include "agents/models/actor_critic.h"

namespace cosdt::agents {

// TD3+BC (arXiv 2106.06860, equations 3 to 5) and ReBRAC (arXiv 2305.09836, equations 5 and 6). The
// critics, every update:
//   a~ = clip(actor'(s') + clip(0.2 noise, -0.5, 0.5), -1, 1)
//   y = r + discount (min Q'(s', a~) - critic_bc_coef |a~ - a'|^2),   L = sum of (Q(s, a) - y)^2
// The actor, and by 0.005 the slow copies Q' and actor', every second one:
//   L = bc_weight |actor(s) - a|^2 - q_weight Q(s, actor(s)) / mean |Q|
// with 1 / action_size, alpha and the first critic for TD3+BC; actor_bc_coef, 1 and the smaller
// critic for ReBRAC.
class Td3Learner : public CriticLearner {
 public:
  Td3Learner(ActorCritic& agent, const Td3BcOptions& options, BatchShare& share);
  Td3Learner(ActorCritic& agent, const RebracOptions& options, BatchShare& share);

  CriticLosses Update(TransitionBatch& batch, std::span<const float> noise,
                      const LearningRates& rates, double largest_q) override;
  NamedTensors State() const override;

 private:
  struct Coefficients {
    float bc_weight, q_weight, critic_bc_coef;
    MlpPasses::Through through;
  };
  Td3Learner(ActorCritic& agent, const ActorCriticOptions& options, BatchShare& share,
             const Coefficients& weights);

  void ComputeTargets(TransitionBatch& batch, std::span<const float> noise);
  double UpdateActor(TransitionBatch& batch, double lr);

  int64_t observation_size_, action_size_;
  Coefficients weights_;
  ActorCritic& agent_;
  BatchShare& share_;
  MlpStack slow_actor_, slow_critics_;
  Learned learned_actor_, learned_critics_;
  torch::Tensor critic_message_, actor_message_;  // gradients
  MlpPasses passes_;
  kernels::Floats targets_, values_;                  // [rows]
  kernels::Floats policy_pairs_;                      // [rows, observation, then action]
  kernels::Floats actor_memory_;                      // hidden values
  kernels::Floats actor_outputs_, action_gradients_;  // [rows, action_size]
};

}  // namespace cosdt::agents
