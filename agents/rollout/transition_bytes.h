// Transitions as processes send them to each other.
#pragma once

#include <string>
#include <vector>

#include "datasets/transitions.h"

namespace cosdt::agents {

// The arrays of all steps, and back; sizes and task are those of `like`.
std::string ToBytes(const datasets::Transitions& transitions);
datasets::Transitions FromBytes(const datasets::Transitions& like, const std::string& bytes);

// Whole episodes, one by one.
std::vector<datasets::Transitions> SplitEpisodes(const datasets::Transitions& transitions);

}  // namespace cosdt::agents
