#pragma once

#include <span>
#include <string>

#include "datasets/episodes.h"
#include "datasets/known_files.h"

namespace cosdt::datasets {

struct LengthStatistics {
  double mean = 0;
  size_t min = 0;
  size_t max = 0;
};

// A file's contents in figures.
struct Summary {
  std::string kind;     // from the hash or the name, "" if neither tells
  std::string version;  // "v0", "v1", "v2", "minari"; from the hash, the name, or the layout
  size_t transitions = 0;
  size_t episodes = 0;  // complete ones; the statistics are theirs
  size_t partial_episodes = 0;
  LengthStatistics lengths;
  ReturnStatistics returns;
};

// `episodes` as read from `path` with the partial ones kept. `known` is what the file's hash is
// known as, or null. Throws FileError if the file cannot be read.
Summary Summarize(const std::string& path, const Episodes& episodes, const KnownFile* known);

// Mean, deviation (divided by n) and extremes of the returns of complete episodes.
ReturnStatistics ReturnsOf(const Episodes& episodes);

// The same of the rewards [rows] that the cuts divide into episodes.
ReturnStatistics ReturnsOf(std::span<const float> rewards, const Cuts& cuts);

}  // namespace cosdt::datasets
