// cosdt train: trains an agent on a dataset.
#include <ATen/Parallel.h>

#include <algorithm>
#include <cstdio>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>

#include "agents/kernels/gemm.h"
#include "agents/models/checkpoint.h"
#include "agents/models/hf_checkpoint.h"
#include "datasets/file_error.h"
#include "experiments/commands/commands.h"
#include "experiments/program/dataset_lookup.h"
#include "experiments/program/default_threads.h"
#include "experiments/program/device.h"
#include "experiments/program/options.h"
#include "experiments/program/processes.h"
#include "experiments/program/stop_signal.h"
#include "experiments/program/utf8.h"
#include "experiments/runs/presets.h"
#include "experiments/runs/train_config.h"
#include "experiments/runs/train_run.h"

namespace cosdt::experiments {
namespace {

using nlohmann::json;

struct TrainCommand {
  TrainFlags flags;
  std::string preset, config, data_dir, out, seeds, device = "cpu", import_hf, export_hf;
  bool resume = false, json = false, list_presets = false;
  int processes = 1;
};

void ListPresets() {
  for (const Preset& preset : Presets()) {
    const std::string& text = preset.toml;
    std::printf("%-34s %s\n", preset.name.c_str(), text.substr(2, text.find('\n') - 2).c_str());
  }
}

// A place that sets options: what errors write before an option's name, and how it sets them.
struct OptionSource {
  std::string prefix;
  std::function<void(TrainOptions&)> apply;
};

// The preset, then the config file, then flags: later ones override earlier ones.
std::vector<OptionSource> OptionSources(const TrainCommand& command) {
  std::vector<OptionSource> sources;
  if (!command.preset.empty()) {
    const std::string name = "preset " + command.preset;
    const Preset& preset = FindPreset(command.preset);
    sources.push_back({name + ": ", [=](TrainOptions& o) { ReadToml(name, preset.toml, o); }});
  }
  if (!command.config.empty()) {
    const std::string path = command.config, text = ReadConfigFile(path);
    sources.push_back({path + ": ", [=](TrainOptions& o) { ReadToml(path, text, o); }});
  }
  sources.push_back({"--", [&](TrainOptions& o) { SetFromFlags(command.flags, o); }});
  return sources;
}

TrainOptions EffectiveOptions(const std::vector<OptionSource>& sources) {
  TrainOptions options;
  options.threads = DefaultThreads();
  for (const OptionSource& source : sources) source.apply(options);
  return options;
}

// A run keeps the options it began with; only its length, how often it is saved, its threads and
// the paths of its data and its critic, whose SHA-256 are compared, may change.
TrainOptions ResumedOptions(const std::vector<OptionSource>& sources, TrainOptions begun,
                            bool prints) {
  const std::set<std::string> may_change = {"updates", "save-every", "threads", "dataset",
                                            "critic"};
  TrainOptions options = begun;
  std::map<std::string, std::string> prefixes;  // of the source that last changed an option
  for (const OptionSource& source : sources) {
    TrainOptions before = options;
    source.apply(options);
    options.FillFrom(begun);
    const std::vector<TrainField> fields = TrainFields(options), old = TrainFields(before);
    for (size_t i = 0; i < fields.size(); ++i) {
      if (ToToml(fields[i]) != ToToml(old[i])) prefixes[fields[i].name] = source.prefix;
    }
  }
  const std::vector<TrainField> fields = TrainFields(options), old = TrainFields(begun);
  for (size_t i = 0; i < fields.size(); ++i) {
    const std::string name = fields[i].name, found = ToToml(fields[i]), expected = ToToml(old[i]);
    if (found == expected) continue;
    if (name == "threads" && prints) {
      std::fprintf(stderr,
                   "cosdt: %sthreads %s: the run began with %s; from here on its bits may differ "
                   "from an undisturbed run's\n",
                   prefixes[name].c_str(), found.c_str(), expected.c_str());
    }
    if (may_change.contains(name)) continue;
    throw std::invalid_argument(prefixes[name] + name + ": expected " + expected +
                                ", with which the run began, found " + found);
  }
  return options;
}

// Reads a model of transformers to begin with; it decides the model's shape.
agents::DecisionTransformer Import(const std::string& folder, TrainOptions& options) {
  agents::DecisionTransformerOptions& dt = options.agent.dt;
  const agents::DecisionTransformer model = agents::ImportHfCheckpoint(folder, dt.context);
  const double dropout = dt.dropout;
  options.agent.kind = "dt";
  dt = model->options();
  dt.dropout = dropout;
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

// A run that is resumed on another machine may have its data elsewhere.
void ExpectDataOf(const TrainOptions& begun, const std::string& folder,
                  const std::string& data_dir) {
  try {
    DatasetPath(begun.dataset, data_dir);
  } catch (const datasets::FileError& e) {
    throw std::runtime_error(std::string(e.what()) + "; " + folder +
                             " began with it (--dataset gives its path now)");
  }
}

// One run; `suffix` is "" or its seed's folder in --out and in --export-hf.
TrainReport TrainOne(const TrainCommand& command, const std::vector<OptionSource>& sources,
                     const std::string& suffix, const torch::Device& device,
                     const StopSignal& signal, agents::ProcessGroup* group) {
  const std::string folder = command.out + suffix;
  const bool prints = !group || group->is_first();
  TrainOptions options = EffectiveOptions(sources);
  if (command.resume) {
    if (const auto begun = ReadRunOptions(folder, group)) {
      options = ResumedOptions(sources, *begun, prints);
      if (options.dataset == begun->dataset) ExpectDataOf(*begun, folder, command.data_dir);
    }
  }
  agents::DecisionTransformer imported{nullptr};
  if (!command.import_hf.empty()) imported = Import(command.import_hf, options);
  if (const attention::AttentionOptions* const attention = options.agent.attention();
      !command.export_hf.empty() && !(attention && attention->kind == "softmax")) {
    throw std::invalid_argument("export-hf: expected a dt agent with softmax attention, found " +
                                options.agent.kind + (attention ? " " + attention->kind : ""));
  }
  ExpectPrecisionOf(options.trainer.precision, device);
  const ResolvedRun run = ResolveRun(std::move(options), command.data_dir);
  if (imported) ExpectSizesOf(run.data(), command.import_hf, imported->options());
  if (prints && run.options().trainer.precision == "bf16" && device.is_cpu() &&
      !agents::kernels::ProcessorHasAmx()) {
    SayIfBFloat16IsNotUsed();
  }
  at::set_num_threads(static_cast<int>(run.options().threads));
  TrainReport report = TrainInFolder(
      run, folder, command.resume, device, [&] { return signal.received() != 0; }, imported, group);
  if (!command.export_hf.empty() && prints) {
    const agents::Checkpoint last = agents::ReadCheckpoint(report.checkpoint.path);
    agents::ExportHfCheckpoint(last.agent->transformer(), command.export_hf + suffix);
  }
  return report;
}

void Print(const TrainReport& report) {
  std::printf("%s: %lld updates, %.1f updates/s, loss %s", report.checkpoint.path.c_str(),
              static_cast<long long>(report.updates), report.updates_per_second,
              json(report.loss).dump().c_str());
  if (report.validation_loss) std::printf(", validation loss %g", *report.validation_loss);
  std::printf("\n");
}

// The signal that any process has got, 0 if none has.
int Received(const StopSignal& signal, agents::ProcessGroup* group) {
  int received = signal.received();
  if (!group) return received;
  for (const std::string& other : group->Gather(std::to_string(received))) {
    received = std::max(received, std::stoi(other));
  }
  return received;
}

void Run(const TrainCommand& command, agents::ProcessGroup* group) {
  const bool prints = !group || group->is_first();
  agents::KeepFreedMemory();
  const torch::Device device = ResolveDevice(command.device, group ? group->local_rank() : 0);
  const std::vector<OptionSource> sources = OptionSources(command);
  std::vector<std::optional<uint64_t>> seeds = {std::nullopt};  // the options' own
  if (!command.seeds.empty()) {
    const std::vector<uint64_t> given = ParseSeeds(command.seeds);
    seeds.assign(given.begin(), given.end());
  }
  const StopSignal signal;
  std::vector<TrainReport> runs;
  for (const std::optional<uint64_t> seed : seeds) {
    if (Received(signal, group) != 0) break;
    std::vector<OptionSource> own = sources;
    std::string suffix;
    if (seed) {
      own.push_back({"--seeds: ", [=](TrainOptions& o) { o.trainer.seed = *seed; }});
      suffix = "/seed-" + std::to_string(*seed);
    }
    runs.push_back(TrainOne(command, own, suffix, device, signal, group));
    if (!command.json && prints) Print(runs.back());
  }
  if (command.json && prints) {
    PrintJson(command.seeds.empty() ? json(runs[0]) : json{{"runs", runs}});
  }
  if (const int received = Received(signal, group); received != 0) {
    if (prints) {
      std::fprintf(stderr, "cosdt: stopped by signal %d; --resume continues\n", received);
    }
    throw CLI::RuntimeError(128 + received);
  }
}

void RunAll(const TrainCommand& command) {
  if (command.list_presets) return ListPresets();
  if (command.out.empty()) throw CLI::RequiredError("--out");
  RunTogether(command.processes, [&](agents::ProcessGroup* group) { Run(command, group); });
}

}  // namespace

void AddTrainCommand(CLI::App& program) {
  auto command = std::make_shared<TrainCommand>();
  CLI::App* app = program.add_subcommand("train", "train an agent on a dataset");
  app->add_option("--out", command->out, "the run's folder");
  app->add_option("--preset", command->preset, "begin with these options (--list-presets)");
  app->add_flag("--list-presets", command->list_presets, "list the presets");
  app->add_option("--config", command->config,
                  "TOML file with options, such as a run's config.toml");
  AddDataDirOption(*app, command->data_dir);
  app->add_option("--seeds", command->seeds,
                  "several runs, one after another, in folders of --out: 0-9 or 0,3,7");
  AddDeviceOption(*app, command->device, "device that trains; episodes are played on the CPU");
  AddProcessesOption(*app, command->processes, "train");
  app->add_flag("--resume", command->resume, "resume the run in --out, if there is one");
  app->add_option("--import-hf", command->import_hf,
                  "begin with a DecisionTransformerModel of transformers in this folder, which "
                  "decides the model's shape; with --updates 0 to evaluate it");
  app->add_option("--export-hf", command->export_hf,
                  "also write the last weights to this folder for transformers; with --seeds to "
                  "its folders seed-N");
  app->add_flag("--json", command->json, "print one JSON object");
  AddTrainFlags(*app, {}, command->flags);
  app->get_option("--seed")->excludes("--seeds");
  CLI::Option* const threads = app->get_option("--threads");
  threads->description(threads->get_description() + "; " + kDefaultThreadsHelp);
  threads->default_str(std::to_string(DefaultThreads()));
  app->callback([command] { RunAll(*command); });
}

}  // namespace cosdt::experiments
