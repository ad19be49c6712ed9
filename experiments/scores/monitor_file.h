// Evaluations that others published episode by episode, and what ours have in common with them.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "agents/rollout/rollout.h"

namespace cosdt::experiments {

// A Monitor file of stable-baselines3 (stable_baselines3/common/monitor.py): '#' and a JSON object,
// column names that begin with r,l,t, and a row of return, length and time an episode.
struct MonitorFile {
  std::string path;
  std::string env_id;  // such as Hopper-v3; "" where the file does not say
  std::vector<double> returns;
  std::vector<int> lengths;  // in steps
};

// Throws FileError that names the line where a file is not of that form.
MonitorFile ReadMonitorFile(const std::string& path);

// Throws FileError where the file's episodes are of another body than `env`'s, or are fewer.
void CheckComparable(const MonitorFile& file, const std::string& env, int episodes);

// How far apart two returns are that count as the same one.
inline constexpr double kSameReturn = 0.1;

// Holds episode i against the file's episode i: file, episodes, equal_lengths and
// returns_within_0.1 (counts of episodes), mean and file_mean (mean returns of those episodes).
// `result` has at most as many episodes as the file.
nlohmann::json CompareEpisodes(const agents::RolloutResult& result, const MonitorFile& file);

// The same in lines for a reader.
void PrintComparison(const nlohmann::json& comparison);

}  // namespace cosdt::experiments
