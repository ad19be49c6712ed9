// cosdt eval: plays episodes of trained agents for several targets and reports what they attain.
#include <algorithm>
#include <cstdio>
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
#include "experiments/program/processes.h"
#include "experiments/program/progress.h"
#include "experiments/program/recorder.h"
#include "experiments/program/utf8.h"
#include "experiments/program/version.h"
#include "experiments/runs/critic_file.h"
#include "experiments/runs/evaluation.h"
#include "experiments/runs/run_files.h"
#include "experiments/scores/return_report.h"
#include "experiments/scores/statistics.h"

namespace cosdt::experiments {
namespace {

constexpr int kMaxCandidates = 1000;

struct EvalCommand {
  std::vector<std::string> runs;
  std::string env;  // empty: each checkpoint's own
  envs::Physics physics = envs::Physics::kD4rl;
  bool physics_given = false;  // else each checkpoint's own
  agents::AgentRolloutOptions rollout;
  std::string video, device = "cpu", critic;
  int candidates = 1;
  bool json = false;
  int processes = 1;
};

// The critic that chooses among candidates, for an agent of this description; none if none is asked
// for.
std::optional<CriticFile> FindCritic(const EvalCommand& command, const agents::CheckpointInfo& info,
                                     agents::ProcessGroup* group) {
  if (command.critic.empty()) return std::nullopt;
  CriticFile critic = ReadCriticFile(command.critic, info.env, {info.dataset, info.dataset_sha256});
  if (group) group->ExpectSame("critic's SHA-256", critic.file.sha256);
  return critic;
}

// Plays the episodes of one agent.
EvaluationResult Evaluate(const EvalCommand& command, const c10::Device& device,
                          const std::string& path, const std::string& video,
                          agents::ProcessGroup* group) {
  agents::Checkpoint checkpoint = agents::ReadCheckpoint(path);
  checkpoint.agent->module().to(device);
  const agents::CheckpointInfo& info = checkpoint.info;
  const std::string& name = command.env.empty() ? info.env : command.env;
  if (name.empty()) {
    throw datasets::FileError(path, "env", "an agent for a body that cosdt simulates, or --env",
                              "one for data of another");
  }
  const envs::Physics physics = command.physics_given || info.physics.empty()
                                    ? command.physics
                                    : envs::ParsePhysics(info.physics);
  const std::unique_ptr<envs::Env> env = envs::MakeEnv(name, physics);
  agents::AgentRolloutOptions options = command.rollout;
  options.group = group;
  const bool prints = !group || group->is_first();
  const std::string sha256 = datasets::Sha256OfFile(path);
  if (group) group->ExpectSame(path + "'s SHA-256", sha256);
  const std::optional<CriticFile> critic = FindCritic(command, info, group);
  if (critic) {
    options.critic =
        std::make_shared<const agents::CandidateCritic>(critic->checkpoint, command.candidates);
  }
  std::unique_ptr<Recorder> recorder;
  if (!video.empty() && prints) {
    recorder = std::make_unique<Recorder>(*env, video);
    options.watch = [&](const envs::Env& e) { recorder->Watch(e); };
  }
  const size_t targets = checkpoint.agent->options().reads_targets()
                             ? (options.targets.empty() ? info.targets : options.targets).size()
                             : 1;
  std::vector<TargetEvaluation> entries;
  try {
    std::optional<Progress> progress;
    if (prints) {
      progress.emplace("evaluating", "episodes", static_cast<double>(targets) * options.episodes);
      options.progress = [&](double episodes) { progress->Update(episodes); };
    }
    entries = EvaluateTargets(checkpoint, *env, options);
  } catch (const std::invalid_argument& e) {
    throw std::invalid_argument(path + ": " + e.what());
  }
  if (recorder) recorder->Close();
  return {.device = UseOf(device),
          .env = name,
          .physics = DescribePhysics(env->spec(), physics),
          .mujoco_version = envs::MujocoVersion(),
          .torch_version = TorchVersion(),
          .seed = options.seed,
          .seeding = options.seeding,
          .episodes = options.episodes,
          .dataset = {info.dataset, info.dataset_sha256},
          .checkpoint = {path, sha256},
          .critic = critic ? std::optional(critic->file) : std::nullopt,
          .candidates = command.candidates,
          .targets = std::move(entries)};
}

// Statistics over the mean returns of several runs, target by target. Empty if the runs do not have
// environment and targets in common.
std::vector<EvaluationSummary> Summarize(const std::vector<EvaluationResult>& runs, uint64_t seed) {
  const auto same_task = [&](const EvaluationResult& run) {
    return run.env == runs[0].env && run.physics == runs[0].physics &&
           std::ranges::equal(run.targets, runs[0].targets, {}, &TargetEvaluation::target,
                              &TargetEvaluation::target);
  };
  if (!std::ranges::all_of(runs, same_task)) return {};
  const auto env = envs::MakeEnv(runs[0].env);
  std::vector<EvaluationSummary> summary;
  for (size_t i = 0; i < runs[0].targets.size(); ++i) {
    EvaluationSummary entry;
    std::vector<double> rates;
    for (const EvaluationResult& run : runs) {
      entry.run_means.push_back(run.targets[i].mean);
      if (run.targets[i].success_rate) rates.push_back(*run.targets[i].success_rate);
    }
    static_cast<ReturnStatistics&>(entry) = DescribeReturns(entry.run_means, env->spec(), seed);
    if (!rates.empty()) entry.success_rate = Mean(rates);
    entry.target = runs[0].targets[i].target;
    summary.push_back(std::move(entry));
  }
  return summary;
}

void PrintTarget(const std::optional<agents::Target>& target, double mean) {
  if (!target) return;
  if (target->is_auto()) {
    std::printf("target             %s\n", agents::kAutoTarget);
    return;
  }
  std::printf("target             %.10g, attained %.1f (%.1f %%)\n", target->value(), mean,
              100 * mean / target->value());
}

void PrintRun(const EvaluationResult& run) {
  const TargetEvaluation& first = run.targets[0];
  std::printf("%s\n", run.checkpoint.path.c_str());
  std::printf("%s%s, %d episodes per target, %s", run.env.c_str(), PhysicsText(run.physics).c_str(),
              run.episodes, SeedText(run.seed, run.seeding).c_str());
  if (first.decode) {
    std::printf(", %s decoding in %s, context %lld", first.decode->c_str(), first.precision.c_str(),
                static_cast<long long>(first.context));
  }
  if (run.critic) {
    std::printf(", %d candidates for %s", run.candidates, run.critic->path.c_str());
  }
  std::printf("\n");
  for (const TargetEvaluation& entry : run.targets) {
    PrintTarget(entry.target, entry.mean);
    PrintEpisodes(entry);
  }
}

void Print(const EvalCommand& command, const std::vector<EvaluationResult>& runs) {
  if (runs.size() == 1) {
    if (command.json) PrintJson(runs[0]);
    return;
  }
  const std::vector<EvaluationSummary> summary = Summarize(runs, command.rollout.seed);
  if (command.json) {
    PrintJson({{"runs", runs}, {"summary", summary}});
    return;
  }
  for (const EvaluationSummary& entry : summary) {
    std::printf("mean returns of %zu runs\n", runs.size());
    PrintTarget(entry.target, entry.mean);
    PrintReturns(entry);
  }
}

void Run(const EvalCommand& command, agents::ProcessGroup* group) {
  const bool prints = !group || group->is_first();
  const c10::Device device = ResolveDevice(command.device, group ? group->local_rank() : 0);
  if (prints && command.rollout.compute_type == torch::kBFloat16 && device.is_cpu()) {
    SayIfBFloat16IsNotUsed();
  }
  std::vector<EvaluationResult> runs;
  for (const std::string& run : command.runs) {
    runs.push_back(
        Evaluate(command, device, CheckpointPath(run), runs.empty() ? command.video : "", group));
    if (!command.json && prints) PrintRun(runs.back());
  }
  if (prints) Print(command, runs);
}

void AddTargetsOption(CLI::App& app, std::vector<agents::Target>& targets) {
  const auto set = [&targets](const std::vector<std::string>& given) {
    targets.clear();
    for (const std::string& text : given) {
      const std::optional<agents::Target> target = agents::ParseTarget(text);
      if (!target)
        throw CLI::ValidationError("--targets", "expected numbers or auto, found " + text);
      targets.push_back(*target);
    }
  };
  app.add_option_function<std::vector<std::string>>(
         "--targets", set,
         "target returns, separated by commas, or auto, of agents that predict what to ask for "
         "(default: the agent's own)")
      ->delimiter(',')
      ->allow_extra_args(false);
}

void AddCandidateOptions(CLI::App& app, EvalCommand& command) {
  CLI::Option* const critic = app.add_option(
      "--critic", command.critic,
      "choose actions among --candidates by the critics of this run (folder or checkpoint of "
      "td3bc, rebrac or iql on the agent's dataset), as QT does");
  CLI::Option* const candidates = app.add_option(
      "--candidates", command.candidates,
      "actions to choose from, for returns-to-go from the target down to half of it");
  candidates->check(CLI::Range(1, kMaxCandidates))->needs(critic);
  critic->needs(candidates);
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
  AddTargetsOption(*app, command->rollout.targets);
  AddEnvOption(*app, command->env)->description("body or task to act in (default: the agent's)");
  AddPhysicsOption(*app, command->physics);
  AddSeedOption(*app, command->rollout.seed, "seed of initial states");
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
         "window: recompute the last K steps, as published; recurrent: a state over the whole "
         "episode; staggered: two streams of at most K steps")
      ->check(CLI::IsMember(modes))
      ->default_str(agents::DecodeModeName(command->rollout.decode));
  app->add_option_function<std::string>(
         "--precision",
         [command](const std::string& name) {
           command->rollout.compute_type = agents::ParsePrecision(name);
         },
         "precision of the blocks' matrix products: fp32 or bf16")
      ->check(CLI::IsMember({"fp32", "bf16"}))
      ->default_str(agents::PrecisionName(command->rollout.compute_type));
  app->add_flag("--sample-actions", command->rollout.sample_actions,
                "draw discrete actions from their softmax (default: the most likely one)");
  AddCandidateOptions(*app, *command);
  AddThreadsOption(*app, command->rollout.threads);
  AddProcessesOption(*app, command->processes, "play episodes");
  AddDeviceOption(*app, command->device, "device of the model; bodies are simulated on the CPU");
  AddVideoOption(*app, command->video);
  app->add_flag("--json", command->json, "print one JSON object");
  app->callback([command, app] {
    command->physics_given = app->count("--physics") > 0;
    RunTogether(command->processes, [&](agents::ProcessGroup* group) { Run(*command, group); });
  });
}

}  // namespace cosdt::experiments
