#include "agents/critics/iql_learner.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <vector>

#include "agents/critics/fit_critics.h"
#include "agents/kernels/mlp_kernels.h"

namespace cosdt::agents {
namespace {

constexpr float kMaxWeight = 100;  // of a row in the actor's loss

}  // namespace

IqlLearner::IqlLearner(ActorCritic& agent, const IqlOptions& options, BatchShare& share)
    : options_(options),
      agent_(agent),
      share_(share),
      slow_critics_(agent.critics.SameShape()),
      learned_actor_(agent.actor.parameters()),
      learned_critics_(agent.critics.parameters()),
      learned_value_(agent.value->parameters()) {
  slow_critics_.parameters().copy_(agent.critics.parameters());
  const int64_t log_stds = agent.log_std.defined() ? agent.log_std.numel() : 0;
  message_ = MakeMessage({&agent.actor, &agent.critics, &*agent.value}, log_stds);
  if (log_stds == 0) return;
  learned_log_std_.emplace(agent.log_std);
  log_std_gradients_ =
      message_.narrow(0, message_.numel() - BatchShare::kNotes - log_stds, log_stds);
}

void IqlLearner::ComputeCriticGradients(TransitionBatch& batch, CriticLosses& losses) {
  const int64_t pair = options_.observation_size + options_.action_size;
  passes_.SmallestOutputs(*agent_.value, {batch.next_pairs.data(), pair}, targets_.data());
  for (int64_t i = 0; i < batch.rows; ++i) {
    targets_.data()[i] = batch.rewards.data()[i] + batch.discounts.data()[i] * targets_.data()[i];
  }
  FitCritics(agent_.critics, {batch.pairs.data(), pair}, share_.whole(), targets_.data(),
             /*weight=*/0.5, passes_, losses);
}

// Also the weights of the actor's loss.
void IqlLearner::ComputeValueGradients(TransitionBatch& batch, CriticLosses& losses) {
  const int64_t pair = options_.observation_size + options_.action_size;
  passes_.SmallestOutputs(slow_critics_, {batch.pairs.data(), pair}, values_.data());
  double sum = 0;
  const auto expectile = static_cast<float>(options_.expectile);
  const auto beta = static_cast<float>(options_.beta);
  const float share = 2 / static_cast<float>(share_.whole());
  passes_.Fit(*agent_.value, {batch.pairs.data(), pair},
              [&](int64_t, int64_t begin, int64_t count, kernels::Rows outputs) {
                for (int64_t i = 0; i < count; ++i) {
                  const float advantage = values_.data()[begin + i] - outputs.data[i];
                  const float weight = advantage < 0 ? 1 - expectile : expectile;
                  sum += double{weight} * advantage * advantage;
                  outputs.data[i] = -share * weight * advantage;
                  weights_.data()[begin + i] = std::min(std::exp(beta * advantage), kMaxWeight);
                }
              });
  losses.value = sum / static_cast<double>(share_.whole());
}

void IqlLearner::ComputeActorGradients(TransitionBatch& batch, CriticLosses& losses) {
  const int64_t o = options_.observation_size, a = options_.action_size, pair = o + a;
  const auto rows = static_cast<double>(share_.whole());
  std::vector<double> inverse_variance(static_cast<size_t>(a), 2), log_std(inverse_variance.size());
  const bool gaussian = agent_.log_std.defined();
  for (size_t k = 0; gaussian && k < log_std.size(); ++k) {
    log_std[k] = std::clamp(agent_.log_std.const_data_ptr<float>()[k], kernels::kMinLogStd,
                            kernels::kMaxLogStd);
    inverse_variance[k] = std::exp(-2 * log_std[k]);
  }
  const double constant = gaussian ? std::log(2 * std::numbers::pi) / 2 : 0;
  double loss = 0;
  std::vector<double> log_std_gradients(log_std.size());
  passes_.Fit(
      agent_.actor, {batch.pairs.data(), pair},
      [&](int64_t, int64_t begin, int64_t count, kernels::Rows outputs) {
        for (int64_t i = 0; i < count; ++i) {
          const double weight = weights_.data()[begin + i] / rows;
          const float* const action = batch.pairs.data() + (begin + i) * pair + o;
          for (size_t k = 0; k < log_std.size(); ++k) {
            float& output = outputs.data[i * a + static_cast<int64_t>(k)];
            const double mean = std::tanh(output), error = mean - action[k];
            const double square = error * error * inverse_variance[k];
            loss += weight * (square / 2 + log_std[k] + constant);
            log_std_gradients[k] += weight * (1 - square);
            output = static_cast<float>(weight * error * inverse_variance[k] * (1 - mean * mean));
          }
        }
      });
  losses.actor = loss;
  for (size_t k = 0; gaussian && k < log_std.size(); ++k) {
    const float x = agent_.log_std.const_data_ptr<float>()[k];
    const bool inside = x >= kernels::kMinLogStd && x <= kernels::kMaxLogStd;
    log_std_gradients_.data_ptr<float>()[k] =
        inside ? static_cast<float>(log_std_gradients[k]) : 0.0f;
  }
}

CriticLosses IqlLearner::Update(TransitionBatch& batch, std::span<const float>,
                                const LearningRates& rates, double largest_q) {
  const torch::NoGradGuard no_grad;
  passes_.Begin(batch.rows);
  for (kernels::Floats* row : {&targets_, &values_, &weights_}) row->Require(batch.rows);
  for (MlpStack* stack : {&agent_.actor, &agent_.critics, &*agent_.value}) {
    stack->PrepareBackward();
  }
  CriticLosses losses;
  ComputeCriticGradients(batch, losses);
  ComputeValueGradients(batch, losses);
  ComputeActorGradients(batch, losses);
  std::array<double, 4> sums = {losses.critic, losses.q, *losses.value, *losses.actor};
  share_.Sum(message_, sums);
  losses = {.critic = sums[0],
            .actor = sums[3],
            .value = sums[2],
            .q = sums[1],
            .gradient_norm = agent_.critics.gradients().norm().item<double>()};
  if (!IsGood(losses, largest_q)) return losses;
  learned_value_.Step(agent_.value->gradients(), rates.critics);
  learned_critics_.Step(agent_.critics.gradients(), rates.critics, slow_critics_.parameters(),
                        options_.tau);
  learned_actor_.Step(agent_.actor.gradients(), rates.actor);
  if (learned_log_std_) learned_log_std_->Step(log_std_gradients_, rates.actor);
  return losses;
}

NamedTensors IqlLearner::State() const {
  NamedTensors state;
  learned_actor_.AddTo(state, "actor", false);
  learned_critics_.AddTo(state, "critics", false);
  learned_value_.AddTo(state, "value", false);
  if (learned_log_std_) learned_log_std_->AddTo(state, "log_std", false);
  state.emplace_back("slow_critics", slow_critics_.parameters());
  return state;
}

}  // namespace cosdt::agents
