// Results of commands, as values. Each has one conversion to JSON (nlohmann's to_json), and back
// (from_json) if the program reads it again; keys are named as the members, and optional values are
// null unless a comment says otherwise. Reading throws nlohmann::json::exception if a key is
// missing or of another type.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "agents/models/target_json.h"
#include "envs/seeding.h"
#include "experiments/program/device_use.h"
#include "experiments/program/json_optional.h"
#include "experiments/scores/return_report.h"

namespace cosdt::experiments {

struct FileIdentity {
  std::string path, sha256;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(FileIdentity, path, sha256)

// An agent's episodes for one target.
struct TargetEvaluation : EpisodeStatistics {
  std::optional<agents::Target> target;  // behaviour cloning has none
  std::optional<std::string> decode;     // likewise
  std::string precision = "fp32";        // of the model's matrix products
  int64_t context = 0;                   // in steps
};
void to_json(nlohmann::json& to, const TargetEvaluation& from);
void from_json(const nlohmann::json& from, TargetEvaluation& to);

// One run of `cosdt eval`. `device` has its own keys among these.
struct EvaluationResult {
  DeviceUse device;
  std::string env;
  std::optional<std::string> physics;
  std::string mujoco_version, torch_version;
  uint64_t seed = 0;
  envs::Seeding seeding = envs::Seeding::kStreams;
  int episodes = 0;
  FileIdentity dataset, checkpoint;
  std::optional<FileIdentity> critic;  // chose among `candidates`; both are not in JSON without it
  int candidates = 1;
  std::vector<TargetEvaluation> targets;
};
void to_json(nlohmann::json& to, const EvaluationResult& from);

// Several runs of `cosdt eval` for one target: statistics of their mean returns.
struct EvaluationSummary : ReturnStatistics {
  std::optional<agents::Target> target;
  std::vector<double> run_means;
};
void to_json(nlohmann::json& to, const EvaluationSummary& from);

// An evaluation during training; of a run without any only the checkpoint.
struct TrainingEvaluation {
  std::string checkpoint;
  std::optional<int64_t> update;  // left out of JSON if empty
  std::vector<TargetEvaluation> targets;
};
void to_json(nlohmann::json& to, const TrainingEvaluation& from);

// A run of `cosdt train`. `device` has its own keys among these.
struct TrainReport {
  DeviceUse device;
  std::string env, physics, torch_version;
  uint64_t seed = 0;
  int64_t updates = 0;
  std::optional<double> loss;  // none before the first metrics, or if it was not finite
  double updates_per_second = 0;
  FileIdentity dataset, checkpoint;
  TrainingEvaluation last;
  std::optional<TrainingEvaluation> best;
  std::optional<double> validation_loss;      // the last one; none without held-out episodes
  std::string update_path;                    // "cpu", "kernels" or "composition"
  std::optional<std::string> attention_path;  // "kernels" or "composition" of linear attention
};
void to_json(nlohmann::json& to, const TrainReport& from);

// The cost of training. `device` has its own keys among these.
struct TrainingCost {
  DeviceUse device;
  int64_t parameters = 0;
  int64_t tokens_per_update = 0;  // behaviour cloning: steps
  double ms_per_update = 0, updates_per_second = 0;
  std::optional<int64_t> training_bytes;  // beyond data and program; none if not measurable
};
void to_json(nlohmann::json& to, const TrainingCost& from);
void from_json(const nlohmann::json& from, TrainingCost& to);

// Milliseconds per decision of one episode behind a full context.
struct DecisionCost {
  double window = 0;
  std::optional<double> recurrent;  // behaviour cloning has none
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(DecisionCost, window, recurrent)

// The time and memory that a cell of a sweep will take.
struct CellEstimate {
  TrainingCost cost;  // its keys are among these
  double training_seconds = 0;
  double evaluation_seconds = 0;  // at most
};
void to_json(nlohmann::json& to, const CellEstimate& from);
void from_json(const nlohmann::json& from, CellEstimate& to);

// The score of a task: 100 x the share of episodes that solve it, D4RL's normalized score, or 100 x
// the mean return of games, whose returns are at most 1.
inline constexpr const char* kSuccessRateName = "success rate";
inline constexpr const char* kNormalizedScoreName = "normalized score";
inline constexpr const char* kReturnName = "return x 100";

struct CellEvaluation {
  std::optional<int64_t> rollout_bytes;  // as TrainingCost::training_bytes
  DecisionCost ms_per_decision;
  std::optional<double> score;  // for the first target
  std::string score_name;       // one of the above
  std::vector<TargetEvaluation> targets;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(CellEvaluation, rollout_bytes, ms_per_decision, score,
                                   score_name, targets)

// A cell of a sweep: what result.json holds. The keys of `cost` and `evaluation` are among these.
struct CellResult {
  int64_t context = 0;  // behaviour cloning: 1
  std::optional<std::string> attention, feature_map;
  std::optional<double> half_life;  // of cosFormer's weights, if they decay
  std::string agent;
  std::optional<std::string> critic;  // the kind of the agent whose critics guided it
  double top = 100;                   // per cent of the episodes, by return, that it learned from
  std::string dataset_name;           // in JSON dataset.name
  FileIdentity dataset;
  std::string env;
  std::optional<std::string> physics;
  std::string mujoco_version, torch_version;
  uint64_t seed = 0;
  int64_t updates = 0, batch_size = 0;
  FileIdentity checkpoint;
  TrainingCost cost;
  CellEvaluation evaluation;
};
void to_json(nlohmann::json& to, const CellResult& from);

}  // namespace cosdt::experiments
