// Evaluations that others published episode by episode, and what ours have in common with them.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "agents/rollout/rollout.h"

namespace cosdt::experiments {

// A Monitor file of stable-baselines3 (stable_baselines3/common/monitor.py): '#' and a JSON object,
// column names that begin with r,l,t, and a row of return, length and time per episode.
struct MonitorFile {
  std::string path;
  std::string env_id;  // such as Hopper-v3; "" if the file does not say
  std::vector<double> returns;
  std::vector<int> lengths;  // in steps
};

// Throws FileError naming the line that is not of that form.
MonitorFile ReadMonitorFile(const std::string& path);

// Throws FileError if the file's episodes are of another body than `env`'s, or are fewer.
void CheckComparable(const MonitorFile& file, const std::string& env, int episodes);

// Returns that differ by at most this count as equal.
inline constexpr double kSameReturn = 0.1;

// Episode i compared with the file's episode i. Members are named as their JSON keys are.
struct EpisodeComparison {
  std::string file;
  size_t episodes = 0;
  int equal_lengths = 0, returns_within = 0;  // episodes; in JSON returns_within_0.1
  double mean = 0, file_mean = 0;             // mean returns of those episodes
};
void to_json(nlohmann::json& to, const EpisodeComparison& from);

// `result` has at most as many episodes as the file.
EpisodeComparison CompareEpisodes(const agents::RolloutResult& result, const MonitorFile& file);

void PrintComparison(const EpisodeComparison& comparison);

}  // namespace cosdt::experiments
