#pragma once

#include <string>
#include <vector>

namespace cosdt::experiments {

// Options of a training run under a name, compiled in from experiments/presets.
struct Preset {
  const char* name;
  const char* toml;  // its first line is a comment that describes it
};
const std::vector<Preset>& Presets();

// Throws std::invalid_argument with the nearest name if there is none.
const Preset& FindPreset(const std::string& name);

}  // namespace cosdt::experiments
