#include "agents/policies/policy.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

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

}  // namespace

std::unique_ptr<Policy> MakeRandomPolicy(const envs::EnvSpec& spec) {
  return std::make_unique<RandomPolicy>(spec.action_size);
}

std::unique_ptr<Policy> MakeZeroPolicy(const envs::EnvSpec&) {
  return std::make_unique<ZeroPolicy>();
}

std::unique_ptr<Policy> MakeScriptedPolicy(const envs::EnvSpec& spec) {
  if (envs::ParseEnvName(spec.name).task != "tmaze") {
    throw std::invalid_argument(
        "policy: expected scripted for a T-maze (tmaze-100), found it for " + spec.name);
  }
  return std::make_unique<MazePolicy>();
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
                                   bool deterministic) {
  if (name == "random") return MakeRandomPolicy(spec);
  if (name == "zero") return MakeZeroPolicy(spec);
  if (name == "scripted") return MakeScriptedPolicy(spec);
  return LoadGaussianPolicy(*OpenPolicy(name), spec, deterministic);
}

}  // namespace cosdt::agents
