// The data of a report: runs read from their folders, and their groups.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "experiments/scores/statistics.h"

namespace cosdt::experiments {

// The seed of every bootstrap, so that the same runs give the same report.
inline constexpr uint64_t kBootstrapSeed = 0;

struct TargetResult {
  std::optional<double> target;  // behavior cloning and auto have none
  double mean = 0;               // return, over episodes
  size_t episodes = 0;
};

// A point of a learning curve.
struct CurvePoint {
  double update = 0;
  double value = 0;  // a loss is NaN if training diverged
};

// What a run's folder holds in result.json and metrics.jsonl.
struct RunResult {
  std::string folder;
  std::string dataset, dataset_sha256;
  std::string env, physics;  // no physics: "" (T-maze)
  std::string mujoco_version, torch_version;
  // "cosFormer", "cosFormer (ReLU)", "softmax", "softmax, 1 token", .., "cosFormer, auto" if it
  // predicts the return that its score asks for, "BC", "10% BC"
  std::string algorithm;
  bool cloning = false;  // behavior cloning, or another agent without a context
  double top = 100;      // percentage of the episodes, the best by return, that it learned from
  int64_t context = 0;   // in environment steps
  uint64_t seed = 0;
  int64_t updates = 0, batch_size = 0, parameters = 0;
  double updates_per_second = 0;
  double ms_per_update = 0;
  double tokens_per_update = 0;
  double training_bytes = 0, rollout_bytes = 0;  // peaks; NaN if not measured
  double window_ms = 0;                          // per decision
  std::optional<double> recurrent_ms;
  double score = 0;  // normalized, or 100 x the share of episodes that succeed
  std::string score_name;
  std::vector<TargetResult> targets;
  std::vector<CurvePoint> losses;
  std::vector<CurvePoint> scores;  // of the evaluations during training
  nlohmann::json json;             // result.json
};

// Reads a run. Throws datasets::FileError if a file or a field is missing or wrong.
RunResult ReadRun(const std::string& folder);

struct Task {
  std::string dataset, env, score_name, sha256;
  std::string label;       // the dataset, with the environment unless its name has it
  bool published = false;  // one of D4RL's own files, in D4RL's physics

  auto operator<=>(const Task&) const = default;
};

// The runs of a task, algorithm and context: they differ in the seed.
struct Group {
  size_t task = 0, algorithm = 0;  // indices into the report's
  int64_t context = 0;
  std::vector<const RunResult*> runs;  // seeds ascend
  double mean = 0, std = 0;
  double iqm = 0;
  Interval iqm_interval;  // stratified bootstrap, 95 %

  std::vector<double> Scores() const;

  // The mean over runs of one of their values; NaN if a run has none.
  double Mean(double RunResult::* value) const;
};

struct Report {
  Report() = default;
  Report(Report&&) = default;  // a copy's groups would point into the original

  std::vector<RunResult> runs;
  std::vector<std::string> problems;    // folders that were left out, and why
  std::vector<Task> tasks;              // by label
  std::vector<std::string> algorithms;  // cosFormer, other kinds, behavior cloning
  std::vector<int64_t> contexts;        // ascending
  std::vector<Group> groups;            // by task, algorithm, context

  // Null if there are no such runs.
  const Group* Find(size_t task, size_t algorithm, int64_t context) const;
};

// Reads every run that FindRuns finds in the folders and groups them. Damaged runs and what may not
// be read become problems. Runs on the same data, by its SHA-256, get the shortest name that
// one of them has for it. Throws datasets::FileError if a folder is missing, no run is left, or
// runs cannot stand in one table: other physics, MuJoCo, files behind one dataset's name, updates
// within a group, or the same seed twice.
Report ReadReport(const std::vector<std::string>& folders);

}  // namespace cosdt::experiments
