// Files of a training run for its reader: metrics and evaluations.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "agents/models/checkpoint.h"
#include "agents/processes/process_group.h"
#include "experiments/runs/event_file.h"
#include "experiments/runs/json_lines.h"
#include "experiments/runs/train_options.h"
#include "experiments/scores/results.h"

namespace cosdt::experiments {

// metrics.jsonl, and the same for TensorBoard.
class Metrics {
 public:
  // Continues the files of a folder after `update` updates.
  Metrics(const std::string& folder, int64_t update);

  void Write(int64_t update, const std::map<std::string, double>& values);

  // The last line's value of that name; none before the first, or if it was not finite.
  std::optional<double> Last(const std::string& name) const;

  // The update with the least value of that name, the first of equal ones, and the value.
  std::optional<std::pair<int64_t, double>> Least(const std::string& name) const;

 private:
  JsonLines lines_;
  EventFile events_;
};

// A run's folder stands for its last checkpoint; another path is a checkpoint's own.
std::string CheckpointPath(const std::string& run);

// An evaluation of an agent during training, by all processes of the group. None if `stop` asked
// one of them for an end.
std::optional<std::vector<TargetEvaluation>> EvaluateInTraining(const agents::Checkpoint& agent,
                                                                const TrainOptions& options,
                                                                agents::ProcessGroup* group,
                                                                const std::function<bool()>& stop);

// A checkpoint that rank 0 has on disk, in every process.
agents::Checkpoint ReadCheckpointOfFirst(const std::string& path, agents::ProcessGroup* group);

// evaluations.jsonl and best.safetensors: the best agent is that with the highest mean return for
// the first target.
class Evaluations {
 public:
  // Continues the files of a folder after `update` updates. Throws FileError for a line that is no
  // evaluation. The group, which may be null, plays together.
  Evaluations(std::string folder, const TrainOptions& options, int64_t update,
              agents::ProcessGroup* group);

  // Whether there is one of the agent after this update.
  bool Has(int64_t update) const;

  // Evaluates a checkpoint, to which `update` updates led. Nothing is kept of an evaluation during
  // which `stop` asks for an end: it is still to be done.
  void Evaluate(int64_t update, const std::string& checkpoint, Metrics& metrics,
                const std::function<bool()>& stop);

  TrainingEvaluation Last(const std::string& checkpoint) const;
  std::optional<TrainingEvaluation> Best() const;

 private:
  using Line = std::pair<int64_t, std::vector<TargetEvaluation>>;  // update, one per target

  // The first of equally good ones; null before the first evaluation.
  const Line* BestLine() const;
  std::string best_checkpoint() const { return folder_ + "/best.safetensors"; }

  std::string folder_;
  TrainOptions options_;
  agents::ProcessGroup* group_;
  JsonLines file_;
  std::vector<Line> lines_;  // the file's
};

}  // namespace cosdt::experiments
