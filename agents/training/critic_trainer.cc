#include "agents/training/critic_trainer.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <numbers>
#include <random>
#include <stdexcept>
#include <utility>

#include "envs/env.h"

namespace cosdt::agents {
namespace {

constexpr uint64_t kTransitionStream = 0x7472616e;  // apart from other uses of seeds

const Agent& WithCriticsOnCpu(const Agent& agent) {
  if (agent.options().has_critics() && agent.device().is_cpu()) return agent;
  throw std::invalid_argument("training: expected an agent with critics on the CPU, found " +
                              agent.options().name() + " on " + agent.device().str());
}

double ScaleOf(const Agent& agent, const datasets::Episodes& episodes) {
  const AgentOptions& options = agent.options();
  return options.kind == "iql" && options.iql.normalize_rewards ? RewardScale(episodes) : 1;
}

std::string NumberText(double x) {
  char text[32];
  std::snprintf(text, sizeof text, "%g", x);
  return text;
}

}  // namespace

CriticTrainer::CriticTrainer(std::shared_ptr<Agent> agent, const datasets::Episodes& episodes,
                             const datasets::Normalizer& normalizer, const TrainerOptions& options,
                             ProcessGroup* group)
    : AgentTrainer(BatchShare(group, options.batch_size)),
      agent_(std::move(agent)),
      options_((options.Validate(), options)),
      transitions_(episodes, normalizer, ScaleOf(WithCriticsOnCpu(*agent_), episodes)),
      learner_(MakeCriticLearner(*agent_, share_)) {
  ExpectDataOf(agent_->options(), episodes);
}

// CORL's: the first update has the whole rate.
double CriticTrainer::ActorRate() const {
  if (options_.lr_decay == 0) return options_.learning_rate;
  const double part =
      std::min(1.0, static_cast<double>(updates_) / static_cast<double>(options_.lr_decay));
  return options_.learning_rate * (1 + std::cos(std::numbers::pi * part)) / 2;
}

UpdateResult CriticTrainer::UpdateOnce(CriticLosses& losses) {
  envs::Rng rng = envs::MakeRng(options_.seed ^ kTransitionStream, static_cast<uint64_t>(updates_));
  transitions_.Draw(share_, rng, batch_);
  const int64_t actions = agent_->options().action_size();
  noise_.resize(static_cast<size_t>(options_.batch_size * actions));
  std::normal_distribution<float> normal;
  for (float& x : noise_) x = normal(rng);
  const auto own = std::span(noise_).subspan(static_cast<size_t>(share_.first() * actions),
                                             static_cast<size_t>(share_.count() * actions));
  losses = learner_->Update(batch_, own, {options_.learning_rate, ActorRate()},
                            kDiverged * transitions_.largest_value());
  return {.update = updates_ + 1,
          .loss = losses.critic,
          .gradient_norm = losses.gradient_norm,
          .learning_rate = options_.learning_rate,
          .actor_loss = losses.actor,
          .value_loss = losses.value,
          .q = losses.q};
}

std::vector<UpdateResult> CriticTrainer::Update(int64_t count) {
  const ProcessGroup::Computation computation(share_.group());
  std::vector<UpdateResult> results;
  const double largest = kDiverged * transitions_.largest_value();
  while (static_cast<int64_t>(results.size()) < count) {
    CriticLosses losses;
    const UpdateResult result = UpdateOnce(losses);
    if (IsGood(losses, largest)) {
      ++updates_;
      results.push_back(result);
      continue;
    }
    const std::string what = losses.q > largest
                                 ? "mean absolute Q of at most " + NumberText(largest) +
                                       ", found " + NumberText(losses.q)
                                 : "finite losses, found " + NumberText(losses.critic) +
                                       " of the critics and " +
                                       NumberText(losses.actor.value_or(0)) + " of the actor";
    throw NotFiniteError(
        "training: update " + std::to_string(result.update) + ": expected a " + what,
        std::move(results));
  }
  return results;
}

std::vector<torch::Tensor> CriticTrainer::Arrays() const {
  std::vector<torch::Tensor> arrays = agent_->module().parameters();
  for (const auto& [name, tensor] : learner_->State()) arrays.push_back(tensor);
  return arrays;
}

void CriticTrainer::Save(const std::string& path,
                         std::map<std::string, std::string> metadata) const {
  Safetensors file;
  file.metadata = std::move(metadata);
  for (const auto& [name, tensor] : learner_->State()) file.tensors["learner." + name] = tensor;
  WriteTrainingState(path, std::move(file), *agent_, options_, updates_);
}

std::map<std::string, std::string> CriticTrainer::Restore(const std::string& path) {
  TrainingState state = ReadTrainingState(path, *agent_, options_);
  for (auto& [name, tensor] : learner_->State()) {
    tensor.copy_(state.file.Get(path, "learner." + name, tensor.sizes(), torch::kFloat32));
  }
  updates_ = state.updates;
  return std::move(state.file.metadata);
}

}  // namespace cosdt::agents
