// cosdt rollout: plays episodes of a policy and reports their returns.
#include <ATen/Parallel.h>

#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "agents/rollout/rollout.h"
#include "envs/registry.h"
#include "experiments/commands/commands.h"
#include "experiments/program/json_optional.h"
#include "experiments/program/options.h"
#include "experiments/program/processes.h"
#include "experiments/program/recorder.h"
#include "experiments/program/utf8.h"
#include "experiments/program/version.h"
#include "experiments/scores/monitor_file.h"
#include "experiments/scores/return_report.h"

namespace cosdt::experiments {
namespace {

struct RolloutCommand {
  std::string env;
  std::string policy;
  envs::Physics physics = envs::Physics::kD4rl;
  bool deterministic = false;
  std::string video;
  std::optional<std::string> compare;  // a Monitor file
  bool episodes_given = false;         // else as many as that file has
  bool json = false;
  int processes = 1;
  agents::RolloutOptions rollout;
};

struct RolloutReport {
  std::string env;
  std::optional<std::string> physics;
  EpisodeStatistics episodes;
  std::optional<EpisodeComparison> comparison;
};

void PrintAsJson(const RolloutCommand& command, const RolloutReport& report) {
  nlohmann::json object = report.episodes;
  object.update({{"env", report.env},
                 {"physics", report.physics},
                 {"mujoco_version", envs::MujocoVersion()},
                 {"torch_version", TorchVersion()},
                 {"policy", command.policy},
                 {"deterministic", command.deterministic},
                 {"seed", command.rollout.seed},
                 {"seeding", envs::SeedingName(command.rollout.seeding)},
                 {"episodes", command.rollout.episodes}});
  if (report.comparison) object["comparison"] = *report.comparison;
  PrintJson(object);
}

void Print(const RolloutCommand& command, const RolloutReport& report) {
  std::printf("%s%s, %d episodes, %s\n", report.env.c_str(), PhysicsText(report.physics).c_str(),
              command.rollout.episodes,
              SeedText(command.rollout.seed, command.rollout.seeding).c_str());
  PrintEpisodes(report.episodes);
  if (report.comparison) PrintComparison(*report.comparison);
}

void Run(RolloutCommand& command, agents::ProcessGroup* group) {
  const bool prints = !group || group->is_first();
  command.rollout.group = group;
  // a policy computes blocks of 32 rows: threads of its own would only get in the simulation's way
  at::set_num_threads(1);
  const std::unique_ptr<envs::Env> env = envs::MakeEnv(command.env, command.physics);
  std::optional<MonitorFile> published;
  if (command.compare) {
    published = ReadMonitorFile(*command.compare);
    if (!command.episodes_given) {
      command.rollout.episodes = static_cast<int>(published->returns.size());
    }
    CheckComparable(*published, command.env, command.rollout.episodes);
  }
  const std::unique_ptr<agents::Policy> policy =
      agents::MakePolicy(command.policy, env->fully_observed().spec(), command.deterministic);
  std::unique_ptr<Recorder> recorder;
  if (!command.video.empty() && prints) {
    recorder = std::make_unique<Recorder>(*env, command.video);
    command.rollout.watch = [&](const envs::Env& e) { recorder->Watch(e); };
  }
  const agents::RolloutResult result = agents::Rollout(*env, *policy, command.rollout);
  RolloutReport report{env->spec().name, DescribePhysics(env->spec(), command.physics),
                       DescribeEpisodes(result, env->spec(), command.rollout.seed), std::nullopt};
  if (published) report.comparison = CompareEpisodes(result, *published);
  if (!prints) return;
  if (command.json) {
    PrintAsJson(command, report);
  } else {
    Print(command, report);
  }
  if (recorder) recorder->Close();
}

}  // namespace

void AddRolloutCommand(CLI::App& program) {
  auto command = std::make_shared<RolloutCommand>();
  CLI::App* app =
      program.add_subcommand("rollout", "play episodes of a policy and report their returns");
  AddEnvOption(*app, command->env)->required();
  app->add_option(
         "--policy", command->policy,
         "random, zero, scripted (T-mazes and games), a file with D4RL's metadata/policy, or "
         "demo/hopper-medium and the like; it sees all of a task's body")
      ->required();
  AddEpisodesOption(*app, command->rollout.episodes);
  AddPhysicsOption(*app, command->physics);
  AddSeedOption(*app, command->rollout.seed, "seed of initial states and action noise");
  AddSeedingOption(*app, command->rollout.seeding);
  app->add_flag("--deterministic", command->deterministic, "take the policy's mean action");
  AddThreadsOption(*app, command->rollout.threads);
  AddProcessesOption(*app, command->processes, "play episodes");
  AddVideoOption(*app, command->video);
  app->add_option("--compare", command->compare,
                  "compare each episode with that of a Monitor file of stable-baselines3, "
                  "MONITOR.csv, and play as many as it has");
  app->add_flag("--json", command->json, "print one JSON object");
  app->callback([command, app] {
    command->episodes_given = app->count("--episodes") > 0;
    RunTogether(command->processes, [&](agents::ProcessGroup* group) { Run(*command, group); });
  });
}

}  // namespace cosdt::experiments
