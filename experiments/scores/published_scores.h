// Scores that papers and libraries report for D4RL's v2 datasets.
#pragma once

#include <array>
#include <span>

namespace cosdt::experiments {

inline constexpr std::array<const char*, 6> kPublishedDatasets = {
    "halfcheetah-medium-v2",        "hopper-medium-v2",
    "halfcheetah-medium-replay-v2", "hopper-medium-replay-v2",
    "halfcheetah-medium-expert-v2", "hopper-medium-expert-v2"};

struct PublishedScores {
  const char* name;              // of the method, and who measured it
  std::array<double, 6> scores;  // normalized, of kPublishedDatasets
  double mean;                   // as published
};

std::span<const PublishedScores> AllPublishedScores();

}  // namespace cosdt::experiments
