// Options that every kind of agent has: one flag sets those of all kinds.
#pragma once

#include "agents/storage/option_name.h"

namespace cosdt::agents {

inline constexpr OptionName kLayersOption = {
    "layers", "layers", "number of layers (0: the agent's default, 3 for dt and rebrac, else 2)"};
inline constexpr OptionName kWidthOption = {
    "width", "width", "hidden width (0: the agent's default, 128 for dt, else 256)"};

}  // namespace cosdt::agents
