#include "experiments/runs/presets.h"

#include <stdexcept>
#include <utility>

#include "experiments/embedded.h"
#include "experiments/runs/train_config.h"

namespace cosdt::experiments {

const std::vector<Preset>& Presets() {
  static const std::vector<Preset> presets = [] {
    std::vector<Preset> all = {
        {"original-hopper", kOriginalHopperToml},
        {"original-halfcheetah", kOriginalHalfcheetahToml},
        {"original-walker2d", kOriginalWalker2dToml},
        {"corl-hopper", kCorlHopperToml},
        {"corl-halfcheetah", kCorlHalfcheetahToml},
        {"corl-walker2d", kCorlWalker2dToml},
        {"flowformer-hopper", kFlowformerHopperToml},
        {"flowformer-halfcheetah", kFlowformerHalfcheetahToml},
        {"flowformer-walker2d", kFlowformerWalker2dToml},
        {"long-100", kLong100Toml},
        {"long-300", kLong300Toml},
        {"long-1000", kLong1000Toml},
    };
    for (Preset& preset : CriticPresets()) all.push_back(std::move(preset));
    return all;
  }();
  return presets;
}

const Preset& FindPreset(const std::string& name) {
  std::vector<std::string> names;
  for (const Preset& preset : Presets()) {
    if (name == preset.name) return preset;
    names.push_back(preset.name);
  }
  throw std::invalid_argument("preset: expected a known one, such as " + Nearest(name, names) +
                              ", found " + name);
}

}  // namespace cosdt::experiments
