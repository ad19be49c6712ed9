#pragma once

#include <string>
#include <vector>

namespace cosdt::experiments {

// Options of a training run under a name, compiled in: from experiments/presets, and from the
// table in critic_presets.cc.
struct Preset {
  std::string name;
  std::string toml;  // its first line is a comment that describes it
};
const std::vector<Preset>& Presets();

// Those of agents with critics.
std::vector<Preset> CriticPresets();

// Throws std::invalid_argument with the nearest name if there is none.
const Preset& FindPreset(const std::string& name);

}  // namespace cosdt::experiments
