#include "agents/critics/td3_learner.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "agents/critics/fit_critics.h"

namespace cosdt::agents {
namespace {

constexpr double kSlowShare = 0.005;  // of TD3's slow copies
constexpr float kPolicyNoise = 0.2f, kNoiseClip = 0.5f;
constexpr int64_t kActorEvery = 2;

}  // namespace

Td3Learner::Td3Learner(ActorCritic& agent, const Td3BcOptions& options, BatchShare& share)
    : Td3Learner(agent, options, share,
                 {.bc_weight = 1 / static_cast<float>(options.action_size),
                  .q_weight = static_cast<float>(options.alpha),
                  .critic_bc_coef = 0,
                  .through = MlpPasses::Through::kFirst}) {}

Td3Learner::Td3Learner(ActorCritic& agent, const RebracOptions& options, BatchShare& share)
    : Td3Learner(agent, options, share,
                 {.bc_weight = static_cast<float>(options.actor_bc_coef),
                  .q_weight = 1,
                  .critic_bc_coef = static_cast<float>(options.critic_bc_coef),
                  .through = MlpPasses::Through::kSmaller}) {}

Td3Learner::Td3Learner(ActorCritic& agent, const ActorCriticOptions& options, BatchShare& share,
                       const Coefficients& weights)
    : observation_size_(options.observation_size),
      action_size_(options.action_size),
      weights_(weights),
      agent_(agent),
      share_(share),
      slow_actor_(agent.actor.SameShape()),
      slow_critics_(agent.critics.SameShape()),
      learned_actor_(agent.actor.parameters()),
      learned_critics_(agent.critics.parameters()),
      critic_message_(MakeMessage({&agent.critics})),
      actor_message_(MakeMessage({&agent.actor})) {
  slow_actor_.parameters().copy_(agent.actor.parameters());
  slow_critics_.parameters().copy_(agent.critics.parameters());
}

// Puts the slow actor's noisy actions beside the next observations, and fills targets_.
void Td3Learner::ComputeTargets(TransitionBatch& batch, std::span<const float> noise) {
  const int64_t pair = observation_size_ + action_size_;
  const auto size = static_cast<size_t>(action_size_);
  passes_.ForBlocks([&](int64_t begin, int64_t count, MlpPasses::Lane& lane) {
    float* const outputs = actor_outputs_.data() + begin * action_size_;
    slow_actor_.Forward(0, {batch.next_pairs.data() + begin * pair, pair}, count,
                        slow_actor_.HiddenIn(lane.hidden[0], count), {outputs, action_size_});
    for (int64_t i = 0; i < count; ++i) {
      float* const to = batch.next_pairs.data() + (begin + i) * pair + observation_size_;
      for (size_t k = 0; k < size; ++k) {
        const auto at = static_cast<size_t>(i) * size + k;
        const float drawn = noise[static_cast<size_t>(begin) * size + at];
        const float added = std::clamp(kPolicyNoise * drawn, -kNoiseClip, kNoiseClip);
        to[k] = std::clamp(std::tanh(outputs[at]) + added, -1.0f, 1.0f);
      }
    }
  });
  passes_.SmallestOutputs(slow_critics_, {batch.next_pairs.data(), pair}, values_.data());
  for (int64_t i = 0; i < batch.rows; ++i) {
    const float* const action = batch.next_pairs.data() + i * pair + observation_size_;
    const float* const of_data = batch.next_actions.data() + i * action_size_;
    float distance = 0;
    for (int64_t k = 0; k < action_size_; ++k) {
      distance += (action[k] - of_data[k]) * (action[k] - of_data[k]);
    }
    targets_.data()[i] =
        batch.rewards.data()[i] +
        batch.discounts.data()[i] * (values_.data()[i] - weights_.critic_bc_coef * distance);
  }
}

// Gives the loss.
double Td3Learner::UpdateActor(TransitionBatch& batch, double lr) {
  const int64_t pair = observation_size_ + action_size_, rows = batch.rows;
  agent_.actor.PrepareBackward();
  agent_.critics.PrepareBackward();
  const MlpStack::Hidden kept = agent_.actor.HiddenIn(actor_memory_, rows);
  float* const actions = actor_outputs_.data();
  passes_.ForBlocks([&](int64_t begin, int64_t count, MlpPasses::Lane&) {
    agent_.actor.Forward(0, {batch.pairs.data() + begin * pair, pair}, count, kept.From(begin),
                         {actions + begin * action_size_, action_size_});
    for (int64_t i = begin; i < begin + count; ++i) {
      float* const to = policy_pairs_.data() + i * pair;
      std::copy_n(batch.pairs.data() + i * pair, observation_size_, to);
      for (int64_t k = 0; k < action_size_; ++k) {
        float& action = actions[i * action_size_ + k];
        action = std::tanh(action);
        to[observation_size_ + k] = action;
      }
    }
  });
  passes_.InputGradients(agent_.critics, weights_.through, {policy_pairs_.data(), pair}, 1,
                         observation_size_, action_size_, values_.data(),
                         {action_gradients_.data(), action_size_});
  std::array<double, 2> sums{};  // of values and of their sizes
  auto& [sum, size] = sums;
  for (int64_t i = 0; i < rows; ++i) {
    sum += values_.data()[i];
    size += std::abs(values_.data()[i]);
  }
  share_.Sum(sums);
  double distance = 0;
  const auto count = static_cast<double>(share_.whole());
  const double q_weight = weights_.q_weight / (size / count);
  const auto q_share = static_cast<float>(q_weight / count);
  const auto bc_share = static_cast<float>(2 * weights_.bc_weight / count);
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t k = 0; k < action_size_; ++k) {
      const float action = actions[i * action_size_ + k];
      const float error = action - batch.pairs.data()[i * pair + observation_size_ + k];
      float& gradient = action_gradients_.data()[i * action_size_ + k];
      distance += double{error} * error;
      gradient = (bc_share * error - q_share * gradient) * (1 - action * action);
    }
  }
  agent_.actor.ZeroGradients(0);
  agent_.actor.AddGradients(0, {batch.pairs.data(), pair}, rows, kept,
                            {action_gradients_.data(), action_size_});
  share_.Sum(actor_message_, {&distance, 1});
  const double loss = weights_.bc_weight * distance / count - q_weight * sum / count;
  if (!std::isfinite(loss)) return loss;
  learned_actor_.Step(agent_.actor.gradients(), lr, slow_actor_.parameters(), kSlowShare);
  return loss;
}

CriticLosses Td3Learner::Update(TransitionBatch& batch, std::span<const float> noise,
                                const LearningRates& rates, double largest_q) {
  const torch::NoGradGuard no_grad;
  passes_.Begin(batch.rows);
  for (kernels::Floats* row : {&targets_, &values_}) row->Require(batch.rows);
  for (kernels::Floats* row : {&actor_outputs_, &action_gradients_}) {
    row->Require(batch.rows * action_size_);
  }
  policy_pairs_.Require(batch.rows * (observation_size_ + action_size_));
  CriticLosses losses;
  agent_.critics.PrepareBackward();
  ComputeTargets(batch, noise);
  FitCritics(agent_.critics, {batch.pairs.data(), observation_size_ + action_size_}, share_.whole(),
             targets_.data(), /*weight=*/1, passes_, losses);
  std::array<double, 2> sums = {losses.critic, losses.q};
  share_.Sum(critic_message_, sums);
  losses = {.critic = sums[0],
            .q = sums[1],
            .gradient_norm = agent_.critics.gradients().norm().item<double>()};
  if (!IsGood(losses, largest_q)) return losses;
  const auto step = learned_critics_.steps.item<float>() + 1;
  const bool with_actor = static_cast<int64_t>(step) % kActorEvery == 0;
  learned_critics_.Step(agent_.critics.gradients(), rates.critics,
                        with_actor ? slow_critics_.parameters() : torch::Tensor(), kSlowShare);
  if (with_actor) losses.actor = UpdateActor(batch, rates.actor);
  return losses;
}

NamedTensors Td3Learner::State() const {
  NamedTensors state;
  learned_actor_.AddTo(state, "actor", false);
  learned_critics_.AddTo(state, "critics", false);
  state.emplace_back("slow_actor", slow_actor_.parameters());
  state.emplace_back("slow_critics", slow_critics_.parameters());
  return state;
}

}  // namespace cosdt::agents
