#include "experiments/train_run.h"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>

#include "agents/checkpoint.h"
#include "agents/folder_lock.h"
#include "agents/text_file.h"
#include "datasets/hdf5_file.h"
#include "datasets/sha256.h"
#include "envs/registry.h"
#include "experiments/data.h"
#include "experiments/event_file.h"
#include "experiments/program.h"
#include "experiments/progress.h"

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

// What the environment decides where the options do not: returns of a task that is solved or not
// are about 1, and a timestep has a row of its own in the table as far as episodes go.
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

std::string ReadText(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// Metrics as JSON lines and for TensorBoard.
class Metrics {
 public:
  // Lines after `update`, which a killed run left, are removed.
  Metrics(const std::string& folder, int64_t update)
      : path_(folder + "/metrics.jsonl"), events_(folder, update + 1) {
    std::istringstream lines(ReadText(path_));
    std::string kept;
    for (std::string line; std::getline(lines, line);) {
      const json object = json::parse(line, nullptr, false);
      if (object.is_object() && object.value("update", INT64_MAX) <= update) kept += line + "\n";
    }
    agents::WriteTextFile(path_, kept);
    file_.open(path_, std::ios::app);
  }

  void Write(int64_t update, const std::map<std::string, double>& numbers) {
    json line = {{"update", update}};
    for (const auto& [name, number] : numbers) line[name] = number;
    file_ << line.dump() << "\n" << std::flush;
    if (!file_) throw std::runtime_error(path_ + ": writing failed");
    events_.Write(update, numbers);
  }

 private:
  std::string path_;
  std::ofstream file_;
  EventFile events_;
};

}  // namespace

TrainData ReadTrainData(TrainOptions& options, const std::string& data_dir) {
  TrainData data;
  data.path = FindOrMakeDataset(options.dataset, data_dir);
  data.sha256 = datasets::Sha256OfFile(data.path);
  const bool all = options.normalizer == "all";
  data.episodes = datasets::ReadEpisodes(data.path, {.env = options.env, .keep_partial = all});
  if (all) {
    data.normalizer = datasets::MakeNormalizer(data.episodes);
    std::vector<size_t> whole;
    for (size_t i = 0; i < data.episodes.size(); ++i) {
      if (data.episodes.endings[i] != datasets::Ending::kPartial) whole.push_back(i);
    }
    datasets::KeepEpisodes(data.episodes, whole);
  }
  if (options.top < 100) {
    datasets::KeepEpisodes(data.episodes, datasets::TopEpisodes(data.episodes, options.top));
  }
  if (!all) data.normalizer = datasets::MakeNormalizer(data.episodes);
  options.env = data.episodes.env;
  FillEnvOptions(options);
  options.agent.SetSizes(data.episodes.observation_size, data.episodes.action_size);
  return data;
}

std::optional<TrainOptions> ReadRunOptions(const std::string& folder) {
  const std::string path = folder + "/config.toml";
  if (!fs::exists(path)) return std::nullopt;
  TrainOptions options;
  ReadToml(path, ReadText(path), options);
  return options;
}

json TrainInFolder(const TrainOptions& options, const TrainData& data, const std::string& folder,
                   bool resume, const torch::Device& device, const std::function<bool()>& stop) {
  const agents::FolderLock lock(folder);
  const std::string state = folder + "/resume.safetensors", last = folder + "/last.safetensors";
  const bool goes_on = resume && fs::exists(state);
  if (!resume && (fs::exists(state) || fs::exists(folder + "/config.toml"))) {
    throw std::runtime_error(folder +
                             ": expected a folder without a run, found one (--resume goes on)");
  }
  const std::string toml = WriteToml(options);
  agents::WriteTextFile(folder + "/config.toml", toml);

  torch::manual_seed(options.trainer.seed);
  agents::Agent agent(options.agent);
  agent.module().to(device);
  agents::Trainer trainer(std::move(agent), data.episodes, data.normalizer, options.trainer);
  if (goes_on) {
    const auto metadata = trainer.Restore(state);
    const auto sha256 = metadata.find("dataset_sha256");
    if (sha256 == metadata.end() || sha256->second != data.sha256) {
      throw datasets::FileError(data.path, "sha256",
                                sha256 == metadata.end() ? "that of " + state : sha256->second,
                                data.sha256);
    }
  }
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
    trainer.Save(state, {{"dataset_sha256", data.sha256}});
  };

  Metrics metrics(folder, trainer.updates());
  Progress progress("training", "updates", static_cast<double>(options.updates));
  const Clock::time_point start = Clock::now();
  const int64_t first = trainer.updates();
  const auto rate = [&](Clock::time_point since, int64_t updates) {
    const double seconds = std::chrono::duration<double>(Clock::now() - since).count();
    return static_cast<double>(updates) / std::max(seconds, 1e-9);
  };
  json last_loss;  // of the last line: a mean over its updates
  double sum = 0;
  int64_t summed = 0, saved = goes_on ? first : -1;
  Clock::time_point line_start = start;
  progress.Update(static_cast<double>(first));
  try {
    while (trainer.updates() < options.updates && !stop()) {
      const agents::UpdateResult result = trainer.Update();
      sum += result.loss;
      ++summed;
      if (result.update % kUpdatesALine == 0 || result.update == options.updates) {
        const double loss = sum / static_cast<double>(summed);
        metrics.Write(result.update, {{"loss", loss},
                                      {"gradient_norm", result.gradient_norm},
                                      {"learning_rate", result.learning_rate},
                                      {"updates_per_second", rate(line_start, summed)}});
        last_loss = loss;
        sum = 0;
        summed = 0;
        line_start = Clock::now();
      }
      // evaluation every N updates belongs here; its results go to metrics and to "best"
      if (result.update % options.save_every == 0) {
        save();
        saved = result.update;
      }
      char note[32];
      std::snprintf(note, sizeof note, "loss %.4f", result.loss);
      progress.Update(static_cast<double>(result.update), note);
    }
  } catch (const std::exception&) {
    if (trainer.updates() > std::max<int64_t>(saved, 0)) save();
    throw;
  }
  if (trainer.updates() != saved) save();
  return {{"env", options.env},
          {"physics", options.physics},
          {"torch_version", TorchVersion()},
          {"seed", options.trainer.seed},
          {"updates", trainer.updates()},
          {"loss", last_loss},
          {"updates_per_second", rate(start, trainer.updates() - first)},
          {"dataset", {{"path", data.path}, {"sha256", data.sha256}}},
          {"checkpoint", {{"path", last}, {"sha256", datasets::Sha256OfFile(last)}}},
          {"last", {{"checkpoint", last}, {"targets", json::array()}}},
          {"best", nullptr}};
}

}  // namespace cosdt::experiments
