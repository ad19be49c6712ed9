#include "experiments/runs/train_run.h"

#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <ranges>
#include <stdexcept>

#include "agents/models/checkpoint.h"
#include "agents/models/precision.h"
#include "agents/storage/folder_lock.h"
#include "attention/linear_core.h"
#include "attention/linear_op.h"
#include "datasets/atomic_file.h"
#include "datasets/hdf5_file.h"
#include "datasets/probe.h"
#include "datasets/sha256.h"
#include "envs/registry.h"
#include "experiments/program/data_physics.h"
#include "experiments/program/dataset_lookup.h"
#include "experiments/program/device.h"
#include "experiments/program/progress.h"
#include "experiments/program/utf8.h"
#include "experiments/program/version.h"
#include "experiments/runs/evaluation.h"
#include "experiments/runs/event_file.h"
#include "experiments/runs/json_lines.h"

namespace cosdt::experiments {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using Clock = std::chrono::steady_clock;

constexpr int64_t kUpdatesALine = 100;  // of the metrics

// The targets of the original Decision Transformer's experiments, or the return that solves a task.
std::vector<double> UsualTargets(const std::string& env) {
  if (env.empty()) return {};
  const std::string body = envs::ParseEnvName(env).body;
  if (body == "hopper") return {3600, 1800};
  if (body == "halfcheetah") return {12000, 6000};
  if (body == "walker2d") return {5000, 2500};
  return {envs::MakeEnv(env)->spec().success_return.value()};
}

}  // namespace

// Returns of a task that is solved or not are about 1, and a timestep has a row of its own in the
// table as far as episodes go.
void FillEnvOptions(TrainOptions& options) {
  envs::EnvSpec spec;
  if (!options.env.empty()) spec = envs::MakeEnv(options.env)->spec();
  if (options.targets.empty()) options.targets = UsualTargets(options.env);
  if (options.return_scale == 0) {
    options.return_scale = spec.success_return.value_or(options.trainer.return_scale);
  }
  if (options.max_timestep == 0) {
    options.max_timestep = std::max<int64_t>(options.agent.dt.max_timestep, spec.horizon);
  }
  options.trainer.return_scale = options.return_scale;
  options.agent.dt.max_timestep = options.max_timestep;
}

namespace {

// Metrics as JSON lines and for TensorBoard.
class Metrics {
 public:
  Metrics(const std::string& folder, int64_t update)
      : lines_(folder + "/metrics.jsonl", update), events_(folder, update + 1) {}

  void Write(int64_t update, const std::map<std::string, double>& numbers) {
    json line = {{"update", update}};
    for (const auto& [name, number] : numbers) line[name] = number;
    lines_.Append(std::move(line));
    events_.Write(update, numbers);
  }

  // A mean over the updates of its line; null before the first.
  json LastLoss() const {
    for (const json& line : lines_.lines() | std::views::reverse) {
      if (line.contains("loss")) return line["loss"];
    }
    return nullptr;
  }

 private:
  JsonLines lines_;
  EventFile events_;
};

// Evaluations of saved agents while they are trained. The best one, by the mean return for the
// first target, is kept as a checkpoint of its own.
class Evaluations {
 public:
  Evaluations(const std::string& folder, const TrainOptions& options, int64_t update)
      : folder_(folder), options_(options), lines_(folder + "/evaluations.jsonl", update) {
    for (const json& line : lines_.lines()) {
      try {
        MeanReturn(line);
      } catch (const json::exception&) {
        throw datasets::FileError(folder + "/evaluations.jsonl", "update " + line["update"].dump(),
                                  "the mean return of its first target", "none");
      }
    }
  }

  // An undisturbed run evaluates when this many updates are behind it.
  bool Due(int64_t update) const {
    if (options_.eval_every == 0 || update == 0) return false;
    if (update % options_.eval_every != 0 && update != options_.updates) return false;
    return std::ranges::none_of(lines_.lines(),
                                [&](const json& line) { return line["update"] == update; });
  }

  // Evaluates last.safetensors, to which `update` updates led. Nothing is kept of an evaluation
  // during which `stop` asks for an end: it is due again.
  void Evaluate(int64_t update, Metrics& metrics, const std::function<bool()>& stop) {
    const std::string last = folder_ + "/last.safetensors", best = folder_ + "/best.safetensors";
    const agents::Checkpoint checkpoint = agents::ReadCheckpoint(last);
    const auto env = envs::MakeEnv(options_.env, envs::ParsePhysics(options_.physics));
    struct Stopped {};
    agents::AgentRolloutOptions rollout;
    rollout.episodes = static_cast<int>(options_.episodes);
    rollout.seed = options_.trainer.seed;
    rollout.threads = static_cast<int>(options_.threads);
    rollout.progress = [&](double) {
      if (stop()) throw Stopped();
    };
    json targets;
    try {
      targets = EvaluateTargets(checkpoint, *env, rollout);
    } catch (const Stopped&) {
      return;
    }
    const json* champion = Best();
    if (!champion || targets[0]["mean"] > (*champion)["targets"][0]["mean"]) {
      agents::WriteCheckpoint(best, *checkpoint.agent, checkpoint.info);
    }
    std::map<std::string, double> numbers;
    for (const json& entry : targets) {
      const std::string suffix = entry["target"].is_null() ? "" : "/" + entry["target"].dump();
      for (const auto& [name, key] : {std::pair{"eval/return", "mean"},
                                      {"eval/normalized_score", "normalized_score"},
                                      {"eval/success_rate", "success_rate"}}) {
        const auto number = entry.find(key);
        if (number != entry.end() && number->is_number()) numbers[name + suffix] = *number;
      }
    }
    metrics.Write(update, numbers);
    lines_.Append({{"update", update}, {"targets", targets}});  // last: then it is not due again
  }

  // What there is to say of the last one and of the best, as `cosdt train --json` has it.
  json Last() const {
    const std::string path = folder_ + "/last.safetensors";
    if (lines_.lines().empty()) return {{"checkpoint", path}, {"targets", json::array()}};
    return Describe(lines_.lines().back(), path);
  }
  json BestOrNull() const {
    const json* best = Best();
    return best ? Describe(*best, folder_ + "/best.safetensors") : json();
  }

 private:
  static json Describe(const json& line, const std::string& path) {
    return {{"checkpoint", path}, {"update", line["update"]}, {"targets", line["targets"]}};
  }

  // Throws json::exception where the line is no evaluation's.
  static double MeanReturn(const json& line) {
    return line.at("targets").at(0).at("mean").get<double>();
  }

  // The first of equally good ones; null before the first evaluation.
  const json* Best() const {
    const auto best = std::ranges::max_element(lines_.lines(), {}, MeanReturn);
    return best == lines_.lines().end() ? nullptr : &*best;
  }

  std::string folder_;
  const TrainOptions& options_;
  JsonLines lines_;
};

void CopyWeights(const torch::nn::Module& from, torch::nn::Module& to) {
  const torch::NoGradGuard no_grad;
  const auto weights = from.named_parameters();
  for (const auto& weight : to.named_parameters()) weight.value().copy_(weights[weight.key()]);
}

// A loss or a number of them, which are exact in a double, out of a state's metadata.
double LossNumber(const std::string& path, const char* name, const std::string& text) {
  char* end = nullptr;
  const double number = std::strtod(text.c_str(), &end);  // "%a", too
  if (!text.empty() && end == text.c_str() + text.size() && number >= 0 && number < 1e18) {
    return number;
  }
  throw datasets::FileError(path, std::string("metadata ") + name, "a number, 0 or more", text);
}

// A limit on the size of files (ulimit -f) that a save would meet is said before hours of work: the
// state has the weights and AdamW's two moments of each.
void ExpectRoomForState(const torch::nn::Module& module, const std::string& path) {
  rlimit limit = {};
  if (getrlimit(RLIMIT_FSIZE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return;
  size_t bytes = 0;
  for (const torch::Tensor& weight : module.parameters()) bytes += 3 * weight.nbytes();
  for (const torch::Tensor& buffer : module.buffers()) bytes += buffer.nbytes();
  if (bytes <= limit.rlim_cur) return;
  throw datasets::FileError(
      path, "", "room for " + std::to_string(bytes) + " bytes",
      "a limit of " + std::to_string(limit.rlim_cur) + " on the size of a file (ulimit -f)");
}

// What computes the agent's linear attention: "kernels", or "composition" of LibTorch's operations;
// null for agents without it.
json AttentionPath(const agents::Agent& agent, const std::string& precision) {
  const agents::DecisionTransformer model = agent.transformer();
  if (!model || !model->blocks.front()->attention->form()) return nullptr;
  const agents::DecisionTransformerOptions& options = model->options();
  const int64_t width = options.width / options.heads;
  const auto type = agents::ParseTrainingPrecision(precision, agent.device());
  const torch::Tensor q =
      torch::empty({1, options.heads, 1, width}, torch::TensorOptions(agent.device()).dtype(type));
  return attention::HasCausalLinearKernel(q, width) ? "kernels" : "composition";
}

}  // namespace

TrainData ReadTrainData(TrainOptions& options, const std::string& data_dir) {
  TrainData data;
  data.path = FindOrMakeDataset(options.dataset, data_dir);
  // a run may go on from another folder
  if (data.path == options.dataset) options.dataset = fs::absolute(data.path).string();
  ExpectUtf8("dataset", options.dataset);
  ExpectUtf8("dataset", data.path);
  datasets::ProbeFile(data.path);
  data.sha256 = datasets::Sha256OfFile(data.path);
  const bool all = options.normalizer == "all";
  data.episodes = datasets::ReadEpisodes(
      data.path,
      {.env = options.env, .keep_partial = all, .threads = static_cast<int>(options.threads)});
  if (all) {
    data.normalizer = datasets::MakeNormalizer(data.episodes);
    datasets::KeepEpisodes(data.episodes, datasets::CompleteEpisodes(data.episodes));
  }
  if (options.top < 100) {
    datasets::KeepEpisodes(data.episodes, datasets::TopEpisodes(data.episodes, options.top));
  }
  if (!all) data.normalizer = datasets::MakeNormalizer(data.episodes);
  options.env = data.episodes.env;
  const datasets::RecordedEnv recorded = datasets::ReadRecordedEnv(
      datasets::Hdf5File(data.path), datasets::FindKnownHash(data.sha256));
  data.remark = ChoosePhysics(recorded, data.path, options.env, options.physics);
  FillEnvOptions(options);
  options.agent.SetSizes(data.episodes.observation_size, data.episodes.action_size);
  return data;
}

void SayRemark(const TrainData& data) {
  if (!data.remark.empty()) std::fprintf(stderr, "cosdt: %s\n", data.remark.c_str());
}

std::optional<TrainOptions> ReadRunOptions(const std::string& folder) {
  const std::string path = folder + "/config.toml";
  if (!fs::exists(path)) return std::nullopt;
  TrainOptions options;
  ReadToml(path, ReadConfigFile(path), options);
  return options;
}

json TrainInFolder(const TrainOptions& options, const TrainData& data, const std::string& folder,
                   bool resume, const torch::Device& device, const std::function<bool()>& stop,
                   const agents::DecisionTransformer& initial) {
  const agents::FolderLock lock(folder);
  const std::string state = folder + "/resume.safetensors", last = folder + "/last.safetensors";
  const bool goes_on = resume && fs::exists(state);
  if (!resume && (fs::exists(state) || fs::exists(folder + "/config.toml"))) {
    throw std::runtime_error(folder +
                             ": expected a folder without a run, found one (--resume goes on)");
  }
  datasets::RemoveTemporaries(folder);
  torch::manual_seed(options.trainer.seed);
  const std::shared_ptr<agents::Agent> agent = agents::MakeAgent(options.agent);
  if (initial) CopyWeights(*initial, agent->module());
  agent->module().to(device);
  agents::Trainer trainer(agent, data.episodes, data.normalizer, options.trainer);
  double sum = 0;  // of the losses since the last line of the metrics
  int64_t summed = 0;
  if (goes_on) {
    const auto metadata = trainer.Restore(state);
    for (const char* name : {"dataset_sha256", "loss_sum", "loss_count"}) {
      if (!metadata.contains(name)) throw datasets::FileError(state, name, "a text", "none");
    }
    if (metadata.at("dataset_sha256") != data.sha256) {
      throw datasets::FileError(data.path, "SHA-256 of the run's data",
                                metadata.at("dataset_sha256"), data.sha256);
    }
    sum = LossNumber(state, "loss_sum", metadata.at("loss_sum"));
    summed = static_cast<int64_t>(LossNumber(state, "loss_count", metadata.at("loss_count")));
  }
  ExpectRoomForState(trainer.agent().module(), state);
  const std::string toml = WriteToml(options);
  datasets::WriteFile(folder + "/config.toml", toml);
  agents::CheckpointInfo info;
  info.normalizer = data.normalizer;
  info.return_scale = options.trainer.return_scale;
  info.env = options.env;
  info.physics = options.physics;
  info.dataset = data.path;
  info.dataset_sha256 = data.sha256;
  info.targets = options.targets;
  info.run = toml;
  const auto save = [&] {
    info.updates = trainer.updates();
    agents::WriteCheckpoint(last, trainer.agent(), info);
    char text[32];
    std::snprintf(text, sizeof text, "%a", sum);
    trainer.Save(state, {{"dataset_sha256", data.sha256},
                         {"loss_sum", text},
                         {"loss_count", std::to_string(summed)}});
  };

  Metrics metrics(folder, trainer.updates());
  Evaluations evaluations(folder, options, trainer.updates());
  Progress progress("training", "updates", static_cast<double>(options.updates));
  Clock::time_point start = Clock::now();
  const int64_t first = trainer.updates();
  const auto rate = [&](Clock::time_point since, int64_t updates) {
    const double seconds = std::chrono::duration<double>(Clock::now() - since).count();
    return static_cast<double>(updates) / std::max(seconds, 1e-9);
  };
  int64_t line_first = first, saved = goes_on ? first : -1;
  Clock::time_point line_start = start;
  progress.Update(static_cast<double>(first));
  const auto evaluate_if_due = [&](int64_t update) {
    if (!evaluations.Due(update)) return;
    if (saved != update) save();
    saved = update;
    const Clock::time_point begin = Clock::now();
    evaluations.Evaluate(update, metrics, stop);
    // rates are those of updates alone
    start += Clock::now() - begin;
    line_start += Clock::now() - begin;
  };
  evaluate_if_due(first);
  const auto count_losses = [&](const std::vector<agents::UpdateResult>& results) {
    for (const agents::UpdateResult& result : results) {
      sum += result.loss;
      ++summed;
    }
  };
  // A GPU does as many updates at once as lie before the next thing to do, and take no longer than
  // a stop may wait.
  int64_t most = 1;
  try {
    while (trainer.updates() < options.updates && !stop()) {
      int64_t count = 1;
      if (!device.is_cpu()) {
        count = std::min(most, options.updates - trainer.updates());
        for (const int64_t every : {kUpdatesALine, options.save_every, options.eval_every}) {
          if (every > 0) count = std::min(count, every - trainer.updates() % every);
        }
      }
      const Clock::time_point call = Clock::now();
      const std::vector<agents::UpdateResult> results = trainer.Update(count);
      const std::chrono::duration<double> took = Clock::now() - call;
      if (count == most) {
        most = took.count() < 0.25  ? std::min(2 * most, kUpdatesALine)
               : took.count() > 0.5 ? std::max<int64_t>(most / 2, 1)
                                    : most;
      }
      count_losses(results);
      const agents::UpdateResult& result = results.back();
      if (result.update % kUpdatesALine == 0 || result.update == options.updates) {
        metrics.Write(result.update,
                      {{"loss", sum / static_cast<double>(summed)},
                       {"gradient_norm", result.gradient_norm},
                       {"learning_rate", result.learning_rate},
                       {"updates_per_second", rate(line_start, result.update - line_first)}});
        sum = 0;
        summed = 0;
        line_first = result.update;
        line_start = Clock::now();
      }
      if (result.update % options.save_every == 0) {
        save();
        saved = result.update;
      }
      evaluate_if_due(result.update);
      char note[32];
      std::snprintf(note, sizeof note, "loss %.4f", result.loss);
      progress.Update(static_cast<double>(result.update), note);
    }
  } catch (const std::exception& e) {
    if (const auto* error = dynamic_cast<const agents::NotFiniteError*>(&e)) {
      count_losses(error->done());
    }
    if (trainer.updates() > std::max<int64_t>(saved, 0)) save();
    throw;
  }
  if (trainer.updates() != saved) save();
  json report = {{"env", options.env},
                 {"physics", options.physics},
                 {"torch_version", TorchVersion()},
                 {"seed", options.trainer.seed},
                 {"updates", trainer.updates()},
                 {"loss", metrics.LastLoss()},
                 {"updates_per_second", rate(start, trainer.updates() - first)},
                 {"dataset", {{"path", data.path}, {"sha256", data.sha256}}},
                 {"checkpoint", {{"path", last}, {"sha256", datasets::Sha256OfFile(last)}}},
                 {"last", evaluations.Last()},
                 {"update_path", trainer.update_path()},
                 {"attention_path", AttentionPath(trainer.agent(), options.trainer.precision)},
                 {"best", evaluations.BestOrNull()}};
  report.update(DeviceReport(device));
  return report;
}

}  // namespace cosdt::experiments
