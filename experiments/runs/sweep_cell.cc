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
#include "datasets/hdf5_file.h"
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
#include "experiments/runs/train_run.h"

namespace cosdt::experiments {
namespace {

using nlohmann::json;

void ExpectSameOptions(const Cell& cell, const std::string& folder) {
  std::optional<TrainOptions> begun = ReadRunOptions(folder);
  if (!begun) return;
  TrainOptions wanted = cell.options;
  wanted.dataset = begun->dataset;
  // what the sweep leaves to the data and their environment is what it would be now
  if (wanted.env.empty()) wanted.env = begun->env;
  if (wanted.physics.empty() && std::filesystem::exists(cell.data)) {
    ChoosePhysics(datasets::ReadRecordedEnv(datasets::Hdf5File(cell.data)), cell.data, wanted.env,
                  wanted.physics);
  }
  FillEnvOptions(wanted);
  wanted.FillFrom(*begun);
  const std::vector<TrainField> now = TrainFields(wanted), then = TrainFields(*begun);
  for (size_t i = 0; i < now.size(); ++i) {
    if (ToToml(now[i]) == ToToml(then[i])) continue;
    throw std::runtime_error(folder + ": expected a run with " + now[i].name + " = " +
                             ToToml(now[i]) + ", as the sweep says, found one with " +
                             ToToml(then[i]));
  }
}

void Prepare(const TrainOptions& options) {
  agents::KeepFreedMemory();
  at::set_num_threads(static_cast<int>(options.threads));
}

json Train(TrainOptions options, const std::string& folder, const CellPlace& place,
           const StopSignal& stop) {
  Prepare(options);
  const c10::Device device = ResolveDevice(place.device);
  ExpectPrecisionOf(options.trainer.precision, device);
  const TrainData data = ReadTrainData(options, place.data_dir);
  if (options.env.empty()) {
    throw std::runtime_error(data.path + ": expected data of a body or task that cosdt simulates");
  }
  SayRemark(data);
  options.Validate();
  const json report =
      TrainInFolder(options, data, folder, true, device, [&] { return stop.received() != 0; });
  return {{"env", options.env},
          {"physics", options.physics},
          {"updates", report["updates"]},
          {"dataset", report["dataset"]},
          {"checkpoint", report["checkpoint"]}};
}

json Measure(TrainOptions options, const CellPlace& place) {
  Prepare(options);
  const TrainData data = ReadTrainData(options, place.data_dir);
  return MeasureTraining(options, data, ResolveDevice(place.device));
}

// The entries of `cosdt eval`, the memory that they took, and what a decision costs.
json Evaluate(const TrainOptions& options, const std::string& folder, const StopSignal& stop) {
  const agents::Checkpoint checkpoint = agents::ReadCheckpoint(folder + "/last.safetensors");
  const auto env = envs::MakeEnv(checkpoint.info.env, envs::ParsePhysics(checkpoint.info.physics));
  agents::AgentRolloutOptions rollout;
  rollout.episodes = static_cast<int>(options.episodes);
  rollout.seed = options.trainer.seed;
  rollout.threads = static_cast<int>(options.threads);
  const PeakMemory memory;
  json targets;
  {
    const size_t rows = std::max<size_t>(1, checkpoint.info.targets.size());
    Progress progress("evaluating", "episodes", static_cast<double>(rows * options.episodes));
    rollout.progress = [&](double episodes) {
      if (stop.received() != 0) throw std::runtime_error("stopped");
      progress.Update(episodes);
    };
    targets = EvaluateTargets(checkpoint, *env, rollout);
  }
  const json bytes = memory.bytes();
  TrainOptions measured = options;
  measured.agent = checkpoint.agent->options();
  const json& first = targets[0];
  const bool solved_or_not = first.contains("success_rate");
  return {{"rollout_bytes", bytes},
          {"ms_per_decision", MeasureDecisions(measured, env->spec())},
          {"score", solved_or_not ? json(100 * first["success_rate"].get<double>())
                                  : first["normalized_score"]},
          {"score_name", solved_or_not ? "success rate" : "normalized score"},
          {"targets", std::move(targets)}};
}

std::string ResultPath(const std::string& folder) { return folder + "/result.json"; }

// Not an object where there is none; one that cannot be read, after a crash of the machine, is made
// anew.
json ReadResult(const std::string& folder) {
  std::ifstream file(ResultPath(folder));
  return json::parse(file, nullptr, false);
}

bool HasResult(const std::string& folder) { return ReadResult(folder).is_object(); }

// Of a result's data; "" where there is no result or it does not say.
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
  RunInChild([&] { return json(ResolveDevice(device).str()); }, stop);
}

bool RunCell(const Cell& cell, const std::string& folder, const CellPlace& place,
             const StopSignal& stop) {
  const agents::FolderLock lock(LockFolder(folder));
  if (HasResult(folder)) return true;  // another worker's, since StateOf
  const TrainOptions& options = cell.options;
  const json trained = RunInChild([&] { return Train(options, folder, place, stop); }, stop);
  if (stop.received() != 0) return false;
  const json cost = RunInChild([&] { return Measure(options, place); }, stop);
  if (stop.received() != 0) return false;
  const json evaluated = RunInChild([&] { return Evaluate(options, folder, stop); }, stop);
  const bool has_physics = evaluated["score_name"] == "normalized score";
  const attention::AttentionOptions* const attention = options.agent.attention();
  const bool cosformer = attention && attention->kind == "cosformer";
  json result = {{"context", options.agent.context()},
                 {"attention", attention ? json(attention->kind) : json()},
                 {"feature_map", cosformer ? json(attention->feature_map) : json()},
                 {"agent", options.agent.kind},
                 {"top", options.top},
                 {"dataset",
                  {{"name", options.dataset},
                   {"path", trained["dataset"]["path"]},
                   {"sha256", trained["dataset"]["sha256"]}}},
                 {"env", trained["env"]},
                 {"physics", has_physics ? trained["physics"] : json()},
                 {"mujoco_version", envs::MujocoVersion()},
                 {"torch_version", TorchVersion()},
                 {"seed", options.trainer.seed},
                 {"updates", trained["updates"]},
                 {"batch_size", options.trainer.batch_size},
                 {"checkpoint", trained["checkpoint"]}};
  result.update(cost);
  result.update(evaluated);
  datasets::WriteFile(ResultPath(folder),
                      result.dump(1, ' ', false, json::error_handler_t::replace) + "\n");
  return true;
}

json EstimateCell(const Cell& cell, const CellPlace& place, const StopSignal& stop) {
  return RunInChild(
      [&] {
        TrainOptions options = cell.options;
        Prepare(options);
        const c10::Device device = ResolveDevice(place.device);
        ExpectPrecisionOf(options.trainer.precision, device);
        const TrainData data = ReadTrainData(options, place.data_dir);
        json estimate = MeasureTraining(options, data, device);
        const envs::EnvSpec spec = envs::MakeEnv(options.env)->spec();
        const json decision = MeasureDecisions(options, spec);
        const double decisions =
            static_cast<double>(options.episodes * spec.horizon) *
            static_cast<double>(options.agent.reads_targets() ? options.targets.size() : 1);
        estimate["training_seconds"] =
            static_cast<double>(options.updates) * estimate["ms_per_update"].get<double>() / 1000;
        // as if every episode ran to its end, alone: more than it will be
        estimate["evaluation_seconds"] = decisions * decision["window"].get<double>() / 1000;
        return estimate;
      },
      stop);
}

}  // namespace cosdt::experiments
