// cosdt behaviour train: trains SAC, the policies that D4RL's data comes from.
#include <ATen/Parallel.h>

#include <cstdio>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "agents/behaviour/sac_trainer.h"
#include "envs/registry.h"
#include "experiments/commands/commands.h"
#include "experiments/program/options.h"
#include "experiments/program/progress.h"
#include "experiments/program/stop_signal.h"
#include "experiments/program/utf8.h"
#include "experiments/program/version.h"

namespace cosdt::experiments {
namespace {

struct BehaviourTrainCommand {
  std::string env;
  envs::Physics physics = envs::Physics::kD4rl;
  std::string out;
  std::string replay;
  int threads = 1;
  bool resume = false;
  bool json = false;
  agents::SacTrainingOptions training;
};

void Print(const BehaviourTrainCommand& command, const agents::SacTrainer& trainer) {
  nlohmann::json policies = nlohmann::json::array();
  for (const agents::SavedPolicy& p : trainer.policies()) {
    policies.push_back({{"path", p.path}, {"step", p.step}, {"return", p.mean_return}});
  }
  const nlohmann::json last_return =
      trainer.curve().empty() ? nlohmann::json() : nlohmann::json(trainer.curve().back().mean);
  if (command.json) {
    const nlohmann::json report = {{"env", command.env},
                                   {"physics", PhysicsName(command.physics)},
                                   {"mujoco_version", envs::MujocoVersion()},
                                   {"torch_version", TorchVersion()},
                                   {"seed", command.training.seed},
                                   {"steps", trainer.step()},
                                   {"return", last_return},
                                   {"policies", policies}};
    PrintJson(report);
    return;
  }
  std::printf("%s, %s physics, seed %llu: %lld steps\n", command.env.c_str(),
              PhysicsName(command.physics), static_cast<unsigned long long>(command.training.seed),
              static_cast<long long>(trainer.step()));
  for (const agents::SavedPolicy& p : trainer.policies()) {
    std::printf("%s  step %lld, return %.1f\n", p.path.c_str(), static_cast<long long>(p.step),
                p.mean_return);
  }
}

void Run(const BehaviourTrainCommand& command) {
  at::set_num_threads(command.threads);
  const std::unique_ptr<envs::Env> env = envs::MakeEnv(command.env, command.physics);
  const StopSignal signal;  // before the run can be seen in its folder
  agents::SacTrainer trainer(dynamic_cast<const envs::MujocoEnv&>(*env), command.training,
                             command.out, command.resume);
  {
    Progress progress("training", "updates", static_cast<double>(command.training.steps));
    trainer.Run(
        [&](const agents::SacProgress& p) {
          char note[32];
          std::snprintf(note, sizeof note, "return %.0f", p.mean_return);
          progress.Update(static_cast<double>(p.step), note);
        },
        [&] { return signal.received() != 0; });
  }
  // not after a signal: it steps through all episodes again, and the process may have seconds left
  if (!command.replay.empty() && signal.received() == 0) {
    datasets::Hdf5Writer writer(command.replay);
    datasets::WriteTransitions(trainer.Replay(), writer);
    writer.Text("metadata/algorithm", "SAC");
    writer.Integer("metadata/iteration", static_cast<int32_t>(trainer.step()));
    writer.Commit();
  }
  Print(command, trainer);
  if (signal.received() != 0) {
    std::fprintf(stderr, "cosdt: stopped by signal %d after step %lld; --resume continues\n",
                 signal.received(), static_cast<long long>(trainer.step()));
    throw CLI::RuntimeError(128 + signal.received());
  }
}

}  // namespace

void AddBehaviourCommand(CLI::App& program) {
  CLI::App* behaviour = program.add_subcommand("behaviour", "train policies to collect data with");
  behaviour->require_subcommand(1);
  auto command = std::make_shared<BehaviourTrainCommand>();
  CLI::App* app = behaviour->add_subcommand("train", "train SAC with D4RL's settings");
  app->add_option("--env", command->env, "body to train on")
      ->required()
      ->check(CLI::IsMember(envs::BodyNames()));
  AddPhysicsOption(*app, command->physics);
  AddSeedOption(*app, command->training.seed, "seed of everything random");
  app->add_option("--steps", command->training.steps,
                  "environment steps; one update after each, but for the first 10,000")
      ->check(CLI::Range(1, 100'000'000))
      ->capture_default_str();
  app->add_option("--out", command->out, "the run's folder")->required();
  app->add_option("--save-steps", command->training.save_steps,
                  "also keep the policies after these numbers of steps")
      ->delimiter(',');
  app->add_option("--save-returns", command->training.save_returns,
                  "also keep the policies that first reach these returns in an evaluation")
      ->delimiter(',');
  app->add_option("--replay", command->replay,
                  "write all steps to this file at the end, in D4RL's layout");
  app->add_option("--threads", command->threads,
                  "threads that train; a run resumes with the same number")
      ->check(CLI::Range(1, kMaxThreads))
      ->capture_default_str();
  app->add_flag("--resume", command->resume, "resume the run in --out, if there is one");
  app->add_flag("--json", command->json, "print one JSON object");
  app->callback([command] { Run(*command); });
}

}  // namespace cosdt::experiments
