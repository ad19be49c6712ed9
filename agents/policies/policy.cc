#include "agents/policies/policy.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <utility>
#include <vector>

#include "agents/policies/demo_policies.h"
#include "agents/policies/gaussian_policy.h"
#include "datasets/data_folder.h"
#include "datasets/probe.h"
#include "envs/registry.h"
#include "envs/tmaze.h"

namespace cosdt::agents {
namespace {

class RandomPolicy : public Policy {
 public:
  explicit RandomPolicy(int action_size) : action_size_(action_size) {}

  void Act(std::span<const float>, std::span<envs::Rng* const> rngs, std::span<float> actions,
           std::span<float> log_probs) override {
    std::uniform_real_distribution<float> uniform(-1.0f, 1.0f);
    for (size_t row = 0; row < rngs.size(); ++row) {
      for (float& a : actions.subspan(row * action_size_, action_size_)) a = uniform(*rngs[row]);
    }
    std::ranges::fill(log_probs, -static_cast<float>(action_size_) * std::log(2.0f));
  }

 private:
  int action_size_;
};

class RandomDiscretePolicy : public Policy {
 public:
  explicit RandomDiscretePolicy(int actions) : actions_(actions) {}

  void Act(std::span<const float>, std::span<envs::Rng* const> rngs, std::span<float> actions,
           std::span<float> log_probs) override {
    std::uniform_int_distribution<int> uniform(0, actions_ - 1);
    for (size_t row = 0; row < rngs.size(); ++row) {
      actions[row] = static_cast<float>(uniform(*rngs[row]));
    }
    std::ranges::fill(log_probs, -std::log(static_cast<float>(actions_)));
  }

 private:
  int actions_;
};

class ZeroPolicy : public Policy {
 public:
  void Act(std::span<const float>, std::span<envs::Rng* const>, std::span<float> actions,
           std::span<float> log_probs) override {
    std::ranges::fill(actions, 0.0f);
    std::ranges::fill(log_probs, 0.0f);
  }
};

// In the corridor its action is always 0: sequence models see actions, and one that depended on the
// sign would carry it through the corridor in place of the memory.
class MazePolicy : public Policy {
 public:
  void Act(std::span<const float> observations, std::span<envs::Rng* const> rngs,
           std::span<float> actions, std::span<float> log_probs) override {
    std::bernoulli_distribution right(kRight);
    for (size_t row = 0; row < rngs.size(); ++row) {
      const bool chooses = observations[2 * row + envs::TMaze::kJunction] != 0;
      const bool is_right = chooses && right(*rngs[row]);
      const float sign = observations[2 * row + envs::TMaze::kSign];
      actions[row] = !chooses ? 0 : is_right ? sign : -sign;
      if (log_probs.empty()) continue;
      log_probs[row] = chooses ? std::log(is_right ? kRight : 1 - kRight) : 0;
    }
  }

 private:
  static constexpr float kRight = 0.75f;
};

// Reads the action at the end of the observation.
class ScriptedPolicy : public Policy {
 public:
  explicit ScriptedPolicy(const envs::EnvSpec& spec) : observation_size_(spec.observation_size) {}

  void Act(std::span<const float> observations, std::span<envs::Rng* const>,
           std::span<float> actions, std::span<float> log_probs) override {
    for (size_t row = 0; row < actions.size(); ++row) {
      actions[row] = observations[(row + 1) * observation_size_ - 1];
    }
    std::ranges::fill(log_probs, 0.0f);
  }

 private:
  size_t observation_size_;
};

// Another policy with a share of random actions. A discrete action that is the other policy's may
// be either's, which its log probability counts.
class EpsilonPolicy : public Policy {
 public:
  EpsilonPolicy(std::unique_ptr<Policy> policy, const envs::EnvSpec& spec, double epsilon)
      : policy_(std::move(policy)),
        random_(MakeRandomPolicy(spec)),
        size_(spec.action_size),
        discrete_(spec.discrete_actions > 0),
        epsilon_(epsilon) {}

  void Act(std::span<const float> observations, std::span<envs::Rng* const> rngs,
           std::span<float> actions, std::span<float> log_probs) override {
    std::vector<float> random(actions.size()), policy_logs(rngs.size()), random_logs(rngs.size());
    policy_->Act(observations, rngs, actions, policy_logs);
    random_->Act(observations, rngs, random, random_logs);
    std::bernoulli_distribution is_random(epsilon_);
    for (size_t row = 0; row < rngs.size(); ++row) {
      const std::span action = actions.subspan(row * size_, size_),
                      other = std::span(random).subspan(row * size_, size_);
      const bool taken = is_random(*rngs[row]);
      const bool either = discrete_ && action[0] == other[0];
      if (taken) std::ranges::copy(other, action.begin());
      if (log_probs.empty()) continue;
      const double own = (1 - epsilon_) * std::exp(policy_logs[row]),
                   uniform = epsilon_ * std::exp(random_logs[row]);
      const bool both = discrete_ && (either || !taken);
      log_probs[row] = static_cast<float>(std::log(both ? own + uniform : taken ? uniform : own));
    }
  }

 private:
  std::unique_ptr<Policy> policy_, random_;
  size_t size_;
  bool discrete_;
  double epsilon_;
};

}  // namespace

std::unique_ptr<Policy> MakeRandomPolicy(const envs::EnvSpec& spec) {
  if (spec.discrete_actions > 0) {
    return std::make_unique<RandomDiscretePolicy>(spec.discrete_actions);
  }
  return std::make_unique<RandomPolicy>(spec.action_size);
}

std::unique_ptr<Policy> MakeZeroPolicy(const envs::EnvSpec&) {
  return std::make_unique<ZeroPolicy>();
}

std::unique_ptr<Policy> MakeScriptedPolicy(const envs::EnvSpec& spec, double epsilon) {
  if (!(epsilon >= 0 && epsilon <= 1)) {
    throw std::invalid_argument("epsilon: expected 0 to 1, found " + std::to_string(epsilon));
  }
  std::unique_ptr<Policy> policy;
  if (spec.shows_script) {
    policy = std::make_unique<ScriptedPolicy>(spec);
  } else if (envs::ParseEnvName(spec.name).task == "tmaze") {
    policy = std::make_unique<MazePolicy>();
  } else {
    throw std::invalid_argument(
        "policy: expected scripted for a T-maze or a game (tmaze-100, popgym-repeat-first-easy), "
        "found it for " +
        spec.name);
  }
  if (epsilon == 0) return policy;
  return std::make_unique<EpsilonPolicy>(std::move(policy), spec, epsilon);
}

bool IsPolicyFile(const std::string& name) {
  return name != "random" && name != "zero" && name != "scripted";
}

std::unique_ptr<datasets::Hdf5File> OpenPolicy(const std::string& name) {
  const bool demo = name.starts_with("demo/") && !datasets::IsFile(name);
  if (demo) return OpenDemoPolicy(name);
  datasets::ProbeFile(name);
  return std::make_unique<datasets::Hdf5File>(name);
}

std::unique_ptr<Policy> MakePolicy(const std::string& name, const envs::EnvSpec& spec,
                                   bool deterministic, double epsilon) {
  if (name == "random") return MakeRandomPolicy(spec);
  if (name == "zero") return MakeZeroPolicy(spec);
  if (name == "scripted") return MakeScriptedPolicy(spec, epsilon);
  return LoadGaussianPolicy(*OpenPolicy(name), spec, deterministic);
}

}  // namespace cosdt::agents
