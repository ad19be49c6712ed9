#include "datasets/summary.h"

#include <algorithm>
#include <cmath>

#include "datasets/d4rl_file.h"
#include "datasets/hdf5_file.h"
#include "datasets/minari_file.h"

namespace cosdt::datasets {
namespace {

// v2 keeps the simulator's state in float64, v1 in float32; v0 has neither state nor next
// observations. Files that were thinned out by others may look older than they are.
std::string VersionOf(const std::string& path) {
  if (IsMinariFile(path)) return "minari";
  const Hdf5File file(path);
  // tasks are written in v2's layout; without a simulator they have no state
  if (file.Has(D4rlFile::kTask)) return "v2";
  if (file.Has("infos/qpos")) return file.Info("infos/qpos").bytes == 8 ? "v2" : "v1";
  return file.Has("next_observations") ? "v1" : "v0";
}

ReturnStatistics Describe(std::span<const double> returns, std::span<const Ending> endings) {
  ReturnStatistics statistics;
  double sum = 0, squares = 0, count = 0;
  const auto for_complete = [&](const auto& body) {
    for (size_t i = 0; i < returns.size(); ++i) {
      if (endings[i] != Ending::kPartial) body(returns[i]);
    }
  };
  for_complete([&](double r) {
    statistics.min = count == 0 ? r : std::min(statistics.min, r);
    statistics.max = count == 0 ? r : std::max(statistics.max, r);
    sum += r;
    ++count;
  });
  if (count == 0) return statistics;
  statistics.mean = sum / count;
  for_complete([&](double r) { squares += (r - statistics.mean) * (r - statistics.mean); });
  statistics.std = std::sqrt(squares / count);
  return statistics;
}

}  // namespace

ReturnStatistics ReturnsOf(const Episodes& episodes) {
  return Describe(episodes.returns, episodes.endings);
}

ReturnStatistics ReturnsOf(std::span<const float> rewards, const Cuts& cuts) {
  return Describe(SumRewards(rewards, cuts.offsets), cuts.endings);
}

Summary Summarize(const std::string& path, const Episodes& episodes, const KnownFile* known) {
  Summary summary;
  const FileName name = ParseFileName(known ? std::string(known->name) + ".hdf5" : path);
  summary.kind = name.kind;
  summary.version = name.version.empty() ? VersionOf(path) : name.version;
  summary.transitions = episodes.rows();
  size_t rows = 0;
  for (size_t i = 0; i < episodes.size(); ++i) {
    if (episodes.endings[i] == Ending::kPartial) {
      ++summary.partial_episodes;
      continue;
    }
    const size_t length = episodes.length(i);
    summary.lengths.min = summary.episodes == 0 ? length : std::min(summary.lengths.min, length);
    summary.lengths.max = std::max(summary.lengths.max, length);
    rows += length;
    ++summary.episodes;
  }
  if (summary.episodes > 0) {
    summary.lengths.mean = static_cast<double>(rows) / static_cast<double>(summary.episodes);
  }
  summary.returns = ReturnsOf(episodes);
  return summary;
}

}  // namespace cosdt::datasets
