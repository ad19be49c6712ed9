// cosdt eval: plays episodes of trained agents for several targets and reports what they attain.
#include <cstdio>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "agents/models/precision.h"
#include "datasets/file_error.h"
#include "datasets/sha256.h"
#include "envs/registry.h"
#include "experiments/commands/commands.h"
#include "experiments/program/device.h"
#include "experiments/program/options.h"
#include "experiments/program/progress.h"
#include "experiments/program/recorder.h"
#include "experiments/program/utf8.h"
#include "experiments/program/version.h"
#include "experiments/runs/evaluation.h"
#include "experiments/scores/return_report.h"
#include "experiments/scores/statistics.h"

namespace cosdt::experiments {
namespace {

using nlohmann::json;

struct EvalCommand {
  std::vector<std::string> runs;
  envs::Physics physics = envs::Physics::kD4rl;
  bool physics_given = false;  // otherwise each checkpoint's own
  agents::AgentRolloutOptions rollout;
  std::string video, device = "cpu";
  bool json = false;
};

// A run's folder stands for its last checkpoint.
std::string CheckpointPath(const std::string& run) {
  if (!std::filesystem::is_directory(run)) return run;
  return (std::filesystem::path(run) / "last.safetensors").string();
}

// What one agent does, with all that repeating it needs.
json Evaluate(const EvalCommand& command, const c10::Device& device, const std::string& path,
              const std::string& video) {
  agents::Checkpoint checkpoint = agents::ReadCheckpoint(path);
  checkpoint.agent->module().to(device);
  const agents::CheckpointInfo& info = checkpoint.info;
  if (info.env.empty()) {
    throw datasets::FileError(path, "env", "an agent for a body that cosdt simulates",
                              "one for data of another");
  }
  const envs::Physics physics =
      command.physics_given ? command.physics : envs::ParsePhysics(info.physics);
  const std::unique_ptr<envs::Env> env = envs::MakeEnv(info.env, physics);
  agents::AgentRolloutOptions options = command.rollout;
  std::unique_ptr<Recorder> recorder;
  if (!video.empty()) {
    recorder = std::make_unique<Recorder>(*env, video);
    options.watch = [&](const envs::Env& e) { recorder->Watch(e); };
  }
  const size_t targets = checkpoint.agent->options().reads_targets()
                             ? (options.targets.empty() ? info.targets : options.targets).size()
                             : 1;
  json entries;
  try {
    Progress progress("evaluating", "episodes", static_cast<double>(targets) * options.episodes);
    options.progress = [&](double episodes) { progress.Update(episodes); };
    entries = EvaluateTargets(checkpoint, *env, options);
  } catch (const std::invalid_argument& e) {
    throw std::invalid_argument(path + ": " + e.what());
  }
  if (recorder) recorder->Close();
  json report = DeviceReport(device);
  report.update({{"env", info.env},
                 {"physics", DescribePhysics(env->spec(), physics)},
                 {"mujoco_version", envs::MujocoVersion()},
                 {"torch_version", TorchVersion()},
                 {"seed", options.seed},
                 {"seeding", envs::SeedingName(options.seeding)},
                 {"episodes", options.episodes},
                 {"dataset", {{"path", info.dataset}, {"sha256", info.dataset_sha256}}},
                 {"checkpoint", {{"path", path}, {"sha256", datasets::Sha256OfFile(path)}}},
                 {"targets", std::move(entries)}});
  return report;
}

// Of several runs: statistics over their mean returns, target by target. Empty where the runs do
// not have environment and targets in common.
json Summarize(const std::vector<json>& runs, uint64_t seed) {
  const auto task = [](const json& run) {
    json names = {run["env"], run["physics"]};
    for (const json& entry : run["targets"]) names.push_back(entry["target"]);
    return names;
  };
  for (const json& run : runs) {
    if (task(run) != task(runs[0])) return json::array();
  }
  const auto env = envs::MakeEnv(runs[0]["env"].get<std::string>());
  json summary = json::array();
  for (size_t i = 0; i < runs[0]["targets"].size(); ++i) {
    std::vector<double> means, rates;
    for (const json& run : runs) {
      const json& target = run["targets"][i];
      means.push_back(target["mean"]);
      if (target.contains("success_rate")) rates.push_back(target["success_rate"]);
    }
    json entry = DescribeReturns(means, env->spec(), seed);
    if (!rates.empty()) entry["success_rate"] = Mean(rates);
    entry["target"] = runs[0]["targets"][i]["target"];
    entry["run_means"] = means;
    summary.push_back(std::move(entry));
  }
  return summary;
}

void PrintTarget(const json& entry) {
  if (entry["target"].is_null()) return;
  const double target = entry["target"], mean = entry["mean"];
  std::printf("target             %.10g, attained %.1f (%.1f %%)\n", target, mean,
              100 * mean / target);
}

void PrintRun(const json& run) {
  const json& first = run["targets"][0];
  std::printf("%s\n", run["checkpoint"]["path"].get<std::string>().c_str());
  std::printf("%s%s, %d episodes a target, %s", run["env"].get<std::string>().c_str(),
              PhysicsText(run).c_str(), run["episodes"].get<int>(), SeedText(run).c_str());
  if (!first["decode"].is_null()) {
    std::printf(", %s decoding in %s, context %d", first["decode"].get<std::string>().c_str(),
                first["precision"].get<std::string>().c_str(), first["context"].get<int>());
  }
  std::printf("\n");
  for (const json& entry : run["targets"]) {
    PrintTarget(entry);
    PrintEpisodes(entry);
  }
}

void Run(const EvalCommand& command) {
  const c10::Device device = ResolveDevice(command.device);
  if (command.rollout.compute_type == torch::kBFloat16 && device.is_cpu()) WarnOfSlowBFloat16();
  std::vector<json> runs;
  for (const std::string& run : command.runs) {
    runs.push_back(
        Evaluate(command, device, CheckpointPath(run), runs.empty() ? command.video : ""));
    if (!command.json) PrintRun(runs.back());
  }
  if (runs.size() == 1) {
    if (command.json) PrintJson(runs[0]);
    return;
  }
  const json summary = Summarize(runs, command.rollout.seed);
  if (command.json) {
    PrintJson({{"runs", runs}, {"summary", summary}});
    return;
  }
  for (const json& entry : summary) {
    std::printf("mean returns of %zu runs\n", runs.size());
    PrintTarget(entry);
    PrintReturns(entry);
  }
}

}  // namespace

void AddEvalCommand(CLI::App& program) {
  auto command = std::make_shared<EvalCommand>();
  CLI::App* app =
      program.add_subcommand("eval", "play episodes of trained agents and report their returns");
  app->add_option("RUN", command->runs, "folders of runs (their last checkpoints) or checkpoints")
      ->required();
  command->rollout.episodes = 100;
  AddEpisodesOption(*app, command->rollout.episodes);
  app->add_option("--targets", command->rollout.targets,
                  "returns to ask for, one after the other with commas (default: the agent's own)")
      ->delimiter(',')
      ->allow_extra_args(false);
  AddPhysicsOption(*app, command->physics);
  AddSeedOption(*app, command->rollout.seed, "of initial states");
  AddSeedingOption(*app, command->rollout.seeding);
  std::vector<std::string> modes;
  for (const agents::DecodeMode mode : agents::kAllDecodeModes) {
    modes.push_back(agents::DecodeModeName(mode));
  }
  app->add_option_function<std::string>(
         "--decode",
         [command](const std::string& name) {
           command->rollout.decode = agents::ParseDecodeMode(name);
         },
         "window: the last K steps anew, as published; recurrent: a state over the whole episode; "
         "staggered: two streams of at most K steps")
      ->check(CLI::IsMember(modes))
      ->default_str(agents::DecodeModeName(command->rollout.decode));
  app->add_option_function<std::string>(
         "--precision",
         [command](const std::string& name) {
           command->rollout.compute_type = agents::ParsePrecision(name);
         },
         "of the blocks' matrix products: fp32 or bf16")
      ->check(CLI::IsMember({"fp32", "bf16"}))
      ->default_str(agents::PrecisionName(command->rollout.compute_type));
  AddThreadsOption(*app, command->rollout.threads);
  AddDeviceOption(*app, command->device, "that decides; bodies move on the CPU");
  AddVideoOption(*app, command->video);
  app->add_flag("--json", command->json, "print one JSON object");
  app->callback([command, app] {
    command->physics_given = app->count("--physics") > 0;
    Run(*command);
  });
}

}  // namespace cosdt::experiments
