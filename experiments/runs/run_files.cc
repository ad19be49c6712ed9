#include "experiments/runs/run_files.h"

#include <sys/mman.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <ranges>

#include "agents/rollout/play_together.h"
#include "datasets/file_descriptor.h"
#include "datasets/file_error.h"
#include "envs/registry.h"
#include "experiments/runs/evaluation.h"
#include "experiments/scores/metric_name.h"

namespace cosdt::experiments {

using nlohmann::json;

Metrics::Metrics(const std::string& folder, int64_t update)
    : lines_(folder + "/metrics.jsonl", update), events_(folder, update + 1) {}

void Metrics::Write(int64_t update, const std::map<std::string, double>& values) {
  json line = {{"update", update}};
  for (const auto& [name, value] : values) line[name] = value;
  lines_.Append(std::move(line));
  events_.Write(update, values);
}

std::optional<double> Metrics::Last(const std::string& name) const {
  for (const json& line : lines_.lines() | std::views::reverse) {
    const auto value = line.find(name);
    if (value != line.end()) return value->get<std::optional<double>>();
  }
  return std::nullopt;
}

std::optional<std::pair<int64_t, double>> Metrics::Least(const std::string& name) const {
  std::optional<std::pair<int64_t, double>> least;
  for (const json& line : lines_.lines()) {
    const auto value = line.find(name);
    if (value == line.end() || !value->is_number()) continue;
    const auto found = value->get<double>();
    if (!least || found < least->second) least.emplace(line["update"].get<int64_t>(), found);
  }
  return least;
}

std::string CheckpointPath(const std::string& run) {
  if (!std::filesystem::is_directory(run)) return run;
  return (std::filesystem::path(run) / "last.safetensors").string();
}

std::optional<std::vector<TargetEvaluation>> EvaluateInTraining(const agents::Checkpoint& agent,
                                                                const TrainOptions& options,
                                                                agents::ProcessGroup* group,
                                                                const std::function<bool()>& stop) {
  struct Stopped {};
  const auto env = envs::MakeEnv(options.env, envs::ParsePhysics(options.physics));
  agents::AgentRolloutOptions rollout;
  rollout.episodes = static_cast<int>(options.episodes);
  rollout.seed = options.trainer.seed;
  rollout.threads = static_cast<int>(options.threads);
  rollout.group = group;
  rollout.progress = [&](double) {
    if (stop()) throw Stopped();
  };
  try {
    return EvaluateTargets(agent, *env, rollout);
  } catch (const Stopped&) {
    return std::nullopt;
  } catch (const agents::EpisodesMissing&) {
    return std::nullopt;
  }
}

agents::Checkpoint ReadCheckpointOfFirst(const std::string& path, agents::ProcessGroup* group) {
  if (!group) return agents::ReadCheckpoint(path);
  std::string bytes;
  if (group->is_first()) {
    std::ifstream file(path, std::ios::binary);
    bytes.assign(std::istreambuf_iterator(file), {});
  }
  bytes = group->Broadcast(bytes);
  // a file in memory, which ends with its descriptor
  const datasets::FileDescriptor file(memfd_create("checkpoint", MFD_CLOEXEC));
  if (file.WriteAt(0, bytes.data(), bytes.size()) != bytes.size()) {
    throw std::runtime_error("checkpoint: expected memory for " + std::to_string(bytes.size()) +
                             " bytes, found none");
  }
  return agents::ReadCheckpoint("/proc/self/fd/" + std::to_string(static_cast<int>(file)));
}

Evaluations::Evaluations(std::string folder, const TrainOptions& options, int64_t update,
                         agents::ProcessGroup* group)
    : folder_(std::move(folder)),
      options_(options),
      group_(group),
      file_(folder_ + "/evaluations.jsonl", update) {
  for (const json& line : file_.lines()) {
    const auto at = line["update"].get<int64_t>();
    try {
      lines_.emplace_back(at, line.at("targets").get<std::vector<TargetEvaluation>>());
      line["targets"].at(0);
    } catch (const json::exception&) {
      throw datasets::FileError(folder_ + "/evaluations.jsonl", "update " + std::to_string(at),
                                "the evaluation of its first target", "none");
    }
  }
}

bool Evaluations::Has(int64_t update) const {
  return std::ranges::find(lines_, update, &Line::first) != lines_.end();
}

void Evaluations::Evaluate(int64_t update, const std::string& checkpoint, Metrics& metrics,
                           const std::function<bool()>& stop) {
  const agents::Checkpoint saved = ReadCheckpointOfFirst(checkpoint, group_);
  std::optional<std::vector<TargetEvaluation>> played =
      EvaluateInTraining(saved, options_, group_, stop);
  if (!played) return;
  std::vector<TargetEvaluation>& targets = *played;
  const Line* best = BestLine();
  if (!best || targets[0].mean > best->second[0].mean) {
    agents::WriteCheckpoint(best_checkpoint(), *saved.agent, saved.info);
  }
  std::map<std::string, double> values;
  for (const TargetEvaluation& entry : targets) {
    const json target = entry.target ? json(*entry.target) : json();
    const auto set = [&](const char* name, const std::optional<double>& value) {
      if (value) values[MetricName(name, target)] = *value;
    };
    set("return", entry.mean);
    set("normalized_score", entry.normalized_score);
    set("success_rate", entry.success_rate);
  }
  metrics.Write(update, values);
  file_.Append({{"update", update}, {"targets", targets}});  // last: then it is not due again
  lines_.emplace_back(update, std::move(targets));
}

TrainingEvaluation Evaluations::Last(const std::string& checkpoint) const {
  if (lines_.empty()) return {.checkpoint = checkpoint, .update = {}, .targets = {}};
  return {checkpoint, lines_.back().first, lines_.back().second};
}

std::optional<TrainingEvaluation> Evaluations::Best() const {
  const Line* best = BestLine();
  if (!best) return std::nullopt;
  return TrainingEvaluation{best_checkpoint(), best->first, best->second};
}

const Evaluations::Line* Evaluations::BestLine() const {
  const auto best =
      std::ranges::max_element(lines_, {}, [](const Line& line) { return line.second[0].mean; });
  return best == lines_.end() ? nullptr : &*best;
}

}  // namespace cosdt::experiments
