#include "experiments/runs/sweep_cell.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <stdexcept>

#include "agents/models/checkpoint.h"
#include "agents/storage/folder_lock.h"
#include "datasets/atomic_file.h"
#include "datasets/file_error.h"
#include "datasets/recorded_env.h"
#include "datasets/sha256.h"
#include "envs/model.h"
#include "envs/registry.h"
#include "experiments/program/child_process.h"
#include "experiments/program/data_physics.h"
#include "experiments/program/device.h"
#include "experiments/program/progress.h"
#include "experiments/program/version.h"
#include "experiments/runs/cell_cost.h"
#include "experiments/runs/evaluation.h"
#include "experiments/runs/train_config.h"
#include "experiments/runs/train_run.h"

namespace cosdt::experiments {
namespace {

using nlohmann::json;

void ExpectSameOptions(const Cell& cell, const std::string& folder) {
  std::optional<TrainOptions> begun = ReadRunOptions(folder);
  if (!begun) return;
  TrainOptions wanted = cell.options;
  wanted.dataset = begun->dataset;
  if (!wanted.critic.empty()) wanted.critic = std::filesystem::absolute(wanted.critic).string();
  // what the sweep leaves to the data and their environment is what it would be now
  if (wanted.env.empty()) wanted.env = begun->env;
  if (wanted.physics.empty() && std::filesystem::exists(cell.data)) {
    ChoosePhysics(datasets::ReadRecordedEnv(datasets::Hdf5File(cell.data)), cell.data, wanted.env,
                  wanted.physics);
  }
  wanted.FillDefaults();
  wanted.FillFrom(*begun);
  const std::vector<TrainField> now = TrainFields(wanted), then = TrainFields(*begun);
  for (size_t i = 0; i < now.size(); ++i) {
    if (ToToml(now[i]) == ToToml(then[i])) continue;
    throw std::runtime_error(folder + ": expected a run with " + now[i].name + " = " +
                             ToToml(now[i]) + ", as the sweep says, found one with " +
                             ToToml(then[i]));
  }
}

// A cell's run and its device, in a process of its own.
struct PreparedCell {
  ResolvedRun run;
  c10::Device device;
};

PreparedCell Prepare(const Cell& cell, const CellPlace& place) {
  agents::KeepFreedMemory();
  at::set_num_threads(static_cast<int>(cell.options.threads));
  const c10::Device device = ResolveDevice(place.device);
  ExpectPrecisionOf(cell.options.trainer.precision, device);
  return {ResolveRun(cell.options, place.data_dir), device};
}

// A trained run's part of a cell's result.
struct TrainedCell {
  std::string env;
  std::optional<std::string> physics;
  int64_t updates = 0;
  FileIdentity dataset, checkpoint;
  std::string critic;  // the kind of the agent that guided it; "" without
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(TrainedCell, env, physics, updates, dataset, checkpoint, critic)

TrainedCell Train(const Cell& cell, const std::string& folder, const CellPlace& place,
                  const StopSignal& stop) {
  const auto [run, device] = Prepare(cell, place);
  const std::string& env = run.options().env;
  if (env.empty()) {
    throw std::runtime_error(run.data().path +
                             ": expected data of a body or task that cosdt simulates");
  }
  const TrainReport report =
      TrainInFolder(run, folder, true, device, [&] { return stop.received() != 0; });
  return {env,
          DescribePhysics(envs::MakeEnv(env)->spec(), envs::ParsePhysics(report.physics)),
          report.updates,
          report.dataset,
          report.checkpoint,
          run.data().critic ? run.data().critic->checkpoint.agent->options().kind : ""};
}

TrainingCost Measure(const Cell& cell, const CellPlace& place) {
  const auto [run, device] = Prepare(cell, place);
  return MeasureTraining(run, device);
}

std::vector<TargetEvaluation> EvaluateWithProgress(const TrainOptions& options,
                                                   const agents::Checkpoint& checkpoint,
                                                   const envs::Env& env, const StopSignal& stop) {
  agents::AgentRolloutOptions rollout;
  rollout.episodes = static_cast<int>(options.episodes);
  rollout.seed = options.trainer.seed;
  rollout.threads = static_cast<int>(options.threads);
  const size_t rows = std::max<size_t>(1, checkpoint.info.targets.size());
  Progress progress("evaluating", "episodes", static_cast<double>(rows * options.episodes));
  rollout.progress = [&](double episodes) {
    if (stop.received() != 0) throw std::runtime_error("stopped");
    progress.Update(episodes);
  };
  return EvaluateTargets(checkpoint, env, rollout);
}

CellEvaluation Evaluate(const TrainOptions& options, const std::string& folder,
                        const StopSignal& stop) {
  const agents::Checkpoint checkpoint = agents::ReadCheckpoint(folder + "/last.safetensors");
  const auto env = envs::MakeEnv(checkpoint.info.env, envs::ParsePhysics(checkpoint.info.physics));
  const PeakMemory memory;
  CellEvaluation evaluation;
  evaluation.targets = EvaluateWithProgress(options, checkpoint, *env, stop);
  evaluation.rollout_bytes = memory.bytes();
  evaluation.ms_per_decision = MeasureDecisions(checkpoint.agent->options(), env->spec());
  const TargetEvaluation& first = evaluation.targets[0];
  if (first.success_rate) {
    evaluation.score = 100 * *first.success_rate;
    evaluation.score_name = kSuccessRateName;
  } else if (first.normalized_score) {
    evaluation.score = first.normalized_score;
    evaluation.score_name = kNormalizedScoreName;
  } else {
    evaluation.score = 100 * first.mean;
    evaluation.score_name = kReturnName;
  }
  return evaluation;
}

std::string ResultPath(const std::string& folder) { return folder + "/result.json"; }

// Not an object if there is none; one that cannot be read, after a crash of the machine, is written
// again.
json ReadResult(const std::string& folder) {
  std::ifstream file(ResultPath(folder));
  return json::parse(file, nullptr, false);
}

bool HasResult(const std::string& folder) { return ReadResult(folder).is_object(); }

// The SHA-256 of a result's data; "" if there is no result or it does not say.
std::string DataHash(const json& result) {
  if (!result.is_object()) return "";
  const json dataset = result.value("dataset", json::object());
  if (!dataset.is_object()) return "";
  const json hash = dataset.value("sha256", json());
  return hash.is_string() ? hash.get<std::string>() : "";
}

// The cell's own lock: the run's is taken by the process that trains.
std::string LockFolder(const std::string& folder) { return folder + "/cell"; }

}  // namespace

CellState StateOf(const Cell& cell, const std::string& folder) {
  ExpectSameOptions(cell, folder);
  if (HasResult(folder)) return CellState::kDone;
  return agents::FolderLock::IsHeldElsewhere(LockFolder(folder)) ? CellState::kRunningElsewhere
                                                                 : CellState::kWaiting;
}

void ExpectSameData(const std::vector<Cell>& cells, const std::string& out) {
  std::map<std::string, std::string> hashes;
  for (const Cell& cell : cells) {
    const std::string then = DataHash(ReadResult(out + "/" + cell.name));
    if (then.empty() || !std::filesystem::exists(cell.data)) continue;
    auto hash = hashes.find(cell.data);
    if (hash == hashes.end()) {
      hash = hashes.emplace(cell.data, datasets::Sha256OfFile(cell.data)).first;
    }
    if (then == hash->second) continue;
    throw datasets::FileError(cell.data, "SHA-256 of the data of " + out + "/" + cell.name, then,
                              hash->second);
  }
}

void CheckDevice(const std::string& device, const StopSignal& stop) {
  if (device == "cpu") return;
  RunInChild([&] { return ResolveDevice(device).str(); }, stop);
}

bool RunCell(const Cell& cell, const std::string& folder, const CellPlace& place,
             const StopSignal& stop) {
  const agents::FolderLock lock(LockFolder(folder));
  if (HasResult(folder)) return true;  // another worker's, since StateOf
  const TrainedCell trained = RunInChild([&] { return Train(cell, folder, place, stop); }, stop);
  if (stop.received() != 0) return false;
  TrainOptions options = cell.options;
  options.FillKindDefaults();
  const attention::AttentionOptions* const attention = options.agent.attention();
  CellResult result;
  result.context = options.agent.context();
  if (attention) result.attention = attention->kind;
  if (attention && attention->kind == "cosformer") result.feature_map = attention->feature_map;
  if (attention && attention->half_life > 0) result.half_life = attention->half_life;
  result.agent = options.agent.kind;
  if (!options.critic.empty()) result.critic = trained.critic;
  result.top = options.top;
  result.dataset_name = options.dataset;
  result.dataset = trained.dataset;
  result.env = trained.env;
  result.physics = trained.physics;
  result.mujoco_version = envs::MujocoVersion();
  result.torch_version = TorchVersion();
  result.seed = options.trainer.seed;
  result.updates = trained.updates;
  result.batch_size = options.trainer.batch_size;
  result.checkpoint = trained.checkpoint;
  result.cost = RunInChild([&] { return Measure(cell, place); }, stop);
  if (stop.received() != 0) return false;
  result.evaluation = RunInChild([&] { return Evaluate(options, folder, stop); }, stop);
  datasets::WriteFile(ResultPath(folder),
                      json(result).dump(1, ' ', false, json::error_handler_t::replace) + "\n");
  return true;
}

CellEstimate EstimateCell(const Cell& cell, const CellPlace& place, const StopSignal& stop) {
  return RunInChild(
      [&] {
        const auto [run, device] = Prepare(cell, place);
        const TrainOptions& options = run.options();
        const envs::EnvSpec spec = envs::MakeEnv(options.env)->spec();
        CellEstimate estimate;
        estimate.cost = MeasureTraining(run, device);
        const double decisions =
            static_cast<double>(options.episodes * spec.horizon) *
            static_cast<double>(options.agent.reads_targets() ? options.targets.size() : 1);
        estimate.training_seconds =
            static_cast<double>(options.updates) * estimate.cost.ms_per_update / 1000;
        // as if every episode ran to its end, alone: more than it will be
        estimate.evaluation_seconds =
            decisions * MeasureDecisions(options.agent, spec).window / 1000;
        return estimate;
      },
      stop);
}

}  // namespace cosdt::experiments
