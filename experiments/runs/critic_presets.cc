#include "experiments/runs/presets.h"

namespace cosdt::experiments {
namespace {

// CORL's settings for a dataset (configs/offline/{td3_bc,iql,rebrac} at commit 6afec90); TD3+BC's
// are the same for all. IQL's are TOML besides the defaults.
struct CriticPreset {
  const char* dataset;
  const char *actor_bc_coef, *critic_bc_coef;  // ReBRAC's
  const char* iql = "";
};
constexpr char kIqlHopper[] = "tau = 0.001\niql-deterministic = true\nnormalize-reward = true\n";
constexpr CriticPreset kCriticPresets[] = {
    {"hopper-medium", "0.01", "0.01", kIqlHopper},
    {"hopper-medium-replay", "0.05", "0.5", kIqlHopper},
    {"hopper-medium-expert", "0.1", "0.01", "beta = 6.0\nexpectile = 0.5\n"},
    {"halfcheetah-medium", "0.001", "0.01"},
    {"halfcheetah-medium-replay", "0.01", "0.001"},
    {"halfcheetah-medium-expert", "0.01", "0.1"},
    {"walker2d-medium", "0.05", "0.1"},
    {"walker2d-medium-replay", "0.05", "0.01"},
    {"walker2d-medium-expert", "0.01", "0.01"},
};

}  // namespace

std::vector<Preset> CriticPresets() {
  std::vector<Preset> presets;
  const auto add = [&](const std::string& agent, const std::string& name,
                       const std::string& dataset, const std::string& own) {
    presets.push_back({agent + "-" + dataset, "# CORL's " + name + ", " + dataset + "\nagent = \"" +
                                                  agent + "\"\nupdates = 1000000\n" + own});
  };
  for (const CriticPreset& preset : kCriticPresets) add("td3bc", "TD3+BC", preset.dataset, "");
  for (const CriticPreset& preset : kCriticPresets) {
    add("rebrac", "ReBRAC", preset.dataset,
        std::string("actor-bc-coef = ") + preset.actor_bc_coef +
            "\ncritic-bc-coef = " + preset.critic_bc_coef + "\n");
  }
  for (const CriticPreset& preset : kCriticPresets) {
    add("iql", "IQL", preset.dataset, std::string("lr-decay = 1000000\n") + preset.iql);
  }
  return presets;
}

}  // namespace cosdt::experiments
