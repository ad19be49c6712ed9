// Scores that papers and libraries report for D4RL's v2 datasets.
#pragma once

#include <array>
#include <optional>
#include <span>

namespace cosdt::experiments {

inline constexpr std::array<const char*, 9> kPublishedDatasets = {
    "halfcheetah-medium-v2",        "hopper-medium-v2",        "walker2d-medium-v2",
    "halfcheetah-medium-replay-v2", "hopper-medium-replay-v2", "walker2d-medium-replay-v2",
    "halfcheetah-medium-expert-v2", "hopper-medium-expert-v2", "walker2d-medium-expert-v2"};

struct PublishedScores {
  const char* name;  // of the method, and who measured it
  // normalized, of kPublishedDatasets; none if walker2d's were not read at a source
  std::array<std::optional<double>, kPublishedDatasets.size()> scores;
};

std::span<const PublishedScores> AllPublishedScores();

}  // namespace cosdt::experiments
