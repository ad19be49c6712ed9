// cosdt train: trains an agent on a dataset.
#include <ATen/Parallel.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <memory>
#include <thread>

#include "agents/checkpoint.h"
#include "agents/hf_checkpoint.h"
#include "envs/model.h"
#include "envs/registry.h"
#include "experiments/data.h"
#include "experiments/device.h"
#include "experiments/program.h"
#include "experiments/stop_signal.h"
#include "experiments/train_run.h"

namespace cosdt::experiments {
namespace {

using nlohmann::json;

struct TrainCommand {
  TrainFlags flags;
  std::string preset, config, data_dir, out, seeds, device = "cpu", import_hf, export_hf;
  bool resume = false, json = false, list_presets = false;
};

void ListPresets() {
  for (const Preset& preset : Presets()) {
    const std::string text = preset.toml;
    std::printf("%-24s %s\n", preset.name, text.substr(2, text.find('\n') - 2).c_str());
  }
}

// Defaults, then the preset, then the config file, then flags.
TrainOptions EffectiveOptions(const TrainCommand& command) {
  TrainOptions options;
  options.threads = std::max(1u, std::thread::hardware_concurrency());
  if (!command.preset.empty()) {
    ReadToml("preset " + command.preset, FindPreset(command.preset).toml, options);
  }
  if (!command.config.empty()) ReadToml(command.config, ReadConfigFile(command.config), options);
  SetFromFlags(command.flags, options);
  return options;
}

// A run goes on with the options it began with; only its length and pace of saving may change.
TrainOptions ResumedOptions(const TrainCommand& command, const TrainOptions& begun) {
  TrainOptions options = begun, before = begun;
  const std::vector<TrainField> fields = TrainFields(options), old = TrainFields(before);
  for (size_t i = 0; i < fields.size(); ++i) {
    const std::string name = fields[i].name;
    const auto flag = command.flags.find(name);
    if (flag == command.flags.end()) continue;
    SetFromText(fields[i], flag->second);
    if (name == "updates" || name == "save-every" || ToToml(fields[i]) == ToToml(old[i])) continue;
    throw std::invalid_argument("--" + name + ": expected " + ToToml(old[i]) +
                                ", with which the run began, found " + ToToml(fields[i]));
  }
  return options;
}

// A checkpoint of transformers to begin with; it decides the model's shape.
agents::DecisionTransformer Import(const std::string& folder, TrainOptions& options) {
  agents::DecisionTransformerOptions& dt = options.agent.dt;
  const agents::DecisionTransformer model = agents::ImportHfCheckpoint(folder, dt.context);
  const double dropout = dt.dropout;
  options.agent.kind = "dt";
  dt = model->options();
  dt.dropout = dropout;
  options.layers = dt.layers;
  options.width = dt.width;
  options.max_timestep = dt.max_timestep;
  return model;
}

void ExpectSizesOf(const TrainData& data, const std::string& source,
                   const agents::DecisionTransformerOptions& found) {
  const auto sizes = [](int64_t observations, int64_t actions) {
    return std::to_string(observations) + " observations and " + std::to_string(actions) +
           " actions";
  };
  const std::string expected = sizes(data.episodes.observation_size, data.episodes.action_size),
                    text = sizes(found.observation_size, found.action_size);
  if (text == expected) return;
  throw std::invalid_argument(source + ": expected a model for the data's " + expected +
                              ", found one for " + text);
}

// One run; `folder` is --out or one of its seeds'.
json TrainOne(const TrainCommand& command, const TrainOptions& asked, const std::string& folder,
              const torch::Device& device, const StopSignal& signal) {
  TrainOptions options = asked;
  if (command.resume) {
    if (const auto begun = ReadRunOptions(folder)) options = ResumedOptions(command, *begun);
  }
  if (options.dataset.empty()) {
    throw std::invalid_argument("dataset: expected a file or a name (--dataset), found none");
  }
  if (!options.physics.empty()) envs::ParsePhysics(options.physics);
  agents::DecisionTransformer imported{nullptr};
  if (!command.import_hf.empty()) imported = Import(command.import_hf, options);
  options.Resolve();
  const TrainData data = ReadTrainData(options, command.data_dir);
  SayRemark(data);
  if (imported) ExpectSizesOf(data, command.import_hf, imported->options());
  options.Validate();
  if (!command.export_hf.empty() &&
      (options.agent.kind != "dt" || options.agent.dt.attention.kind != "softmax")) {
    throw std::invalid_argument("export-hf: expected a dt agent with softmax attention, found " +
                                options.agent.kind + " " + options.agent.dt.attention.kind);
  }
  if (options.trainer.precision == "bf16" && device.is_cpu()) WarnOfSlowBFloat16();
  ExpectPrecisionOf(options.trainer.precision, device);
  at::set_num_threads(static_cast<int>(options.threads));
  json report = TrainInFolder(
      options, data, folder, command.resume, device, [&] { return signal.received() != 0; },
      imported);
  if (!command.export_hf.empty()) {
    const agents::Checkpoint last = agents::ReadCheckpoint(folder + "/last.safetensors");
    agents::ExportHfCheckpoint(last.agent.dt(), command.export_hf);
  }
  return report;
}

void Run(const TrainCommand& command) {
  if (command.list_presets) return ListPresets();
  if (command.out.empty()) throw CLI::RequiredError("--out");
  agents::KeepFreedMemory();
  const torch::Device device = ResolveDevice(command.device);
  const TrainOptions options = EffectiveOptions(command);
  std::vector<uint64_t> seeds = {options.trainer.seed};
  if (!command.seeds.empty()) seeds = ParseSeeds(command.seeds);
  const StopSignal signal;
  json runs = json::array();
  for (const uint64_t seed : seeds) {
    if (signal.received() != 0) break;
    TrainOptions run = options;
    run.trainer.seed = seed;
    const std::string folder =
        command.seeds.empty() ? command.out : command.out + "/seed-" + std::to_string(seed);
    runs.push_back(TrainOne(command, run, folder, device, signal));
    if (!command.json) {
      std::printf("%s: %lld updates, %.1f updates/s, loss %s\n",
                  runs.back()["last"]["checkpoint"].get<std::string>().c_str(),
                  static_cast<long long>(runs.back()["updates"].get<int64_t>()),
                  runs.back()["updates_per_second"].get<double>(),
                  runs.back()["loss"].dump().c_str());
    }
  }
  if (command.json) {
    const json report = command.seeds.empty() ? runs[0] : json{{"runs", runs}};
    std::printf("%s\n", report.dump().c_str());
  }
  if (signal.received() != 0) {
    std::fprintf(stderr, "cosdt: stopped by signal %d; --resume goes on\n", signal.received());
    throw CLI::RuntimeError(128 + signal.received());
  }
}

}  // namespace

void AddTrainCommand(CLI::App& program) {
  auto command = std::make_shared<TrainCommand>();
  CLI::App* app = program.add_subcommand("train", "train an agent on a dataset");
  app->add_option("--out", command->out, "the run's folder");
  app->add_option("--preset", command->preset, "begin with these options (--list-presets)");
  app->add_flag("--list-presets", command->list_presets, "name the presets and what they are");
  app->add_option("--config", command->config, "TOML file with options, as a run's config.toml");
  AddDataDirOption(*app, command->data_dir);
  app->add_option("--seeds", command->seeds,
                  "several runs, one after another, in folders of --out: 0-9 or 0,3,7");
  AddDeviceOption(*app, command->device, "that trains; episodes are played on the CPU");
  app->add_flag("--resume", command->resume, "go on with the run in --out, if there is one");
  app->add_option("--import-hf", command->import_hf,
                  "begin with a DecisionTransformerModel of transformers in this folder, which "
                  "decides the model's shape; with --updates 0 to evaluate it");
  app->add_option("--export-hf", command->export_hf,
                  "write the last weights to this folder for transformers, too");
  app->add_flag("--json", command->json, "print one JSON object");
  AddTrainFlags(*app, {}, command->flags);
  app->callback([command] { Run(*command); });
}

}  // namespace cosdt::experiments
