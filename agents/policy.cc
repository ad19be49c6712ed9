#include "agents/policy.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "agents/demo.h"
#include "agents/gaussian_policy.h"

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

}  // namespace

std::unique_ptr<Policy> MakeRandomPolicy(const envs::EnvSpec& spec) {
  return std::make_unique<RandomPolicy>(spec.action_size);
}

std::unique_ptr<Policy> MakeZeroPolicy(const envs::EnvSpec&) {
  return std::make_unique<ZeroPolicy>();
}

std::string PolicyPath(const std::string& name) {
  const bool demo = name.starts_with("demo/") && !std::filesystem::exists(name);
  return demo ? DemoPolicyPath(name) : name;
}

std::unique_ptr<Policy> MakePolicy(const std::string& name, const envs::EnvSpec& spec,
                                   bool deterministic) {
  if (name == "random") return MakeRandomPolicy(spec);
  if (name == "zero") return MakeZeroPolicy(spec);
  return LoadGaussianPolicy(PolicyPath(name), spec, deterministic);
}

}  // namespace cosdt::agents
