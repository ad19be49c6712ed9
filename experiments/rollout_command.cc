// cosdt rollout: plays episodes of a policy and reports their returns.
#include <ATen/Parallel.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "agents/rollout.h"
#include "envs/registry.h"
#include "envs/renderer.h"
#include "envs/video_writer.h"
#include "experiments/program.h"
#include "experiments/statistics.h"

namespace cosdt::experiments {
namespace {

struct RolloutCommand {
  std::string env;
  std::string policy;
  envs::Physics physics = envs::Physics::kD4rl;
  bool deterministic = false;
  std::string video;
  bool json = false;
  agents::RolloutOptions rollout;
};

// Records episode 0. The frame rate is the simulation's, thinned out to what a player shows.
class Recorder {
 public:
  static constexpr int kWidth = 640, kHeight = 480;
  static constexpr double kMostFramesPerSecond = 60;

  Recorder(const envs::MujocoEnv& env, const std::string& file)
      : every_(std::max(
            1, static_cast<int>(1 / (env.spec().step_seconds * kMostFramesPerSecond) + 0.999))),
        renderer_(env, kWidth, kHeight),
        writer_(file, kWidth, kHeight, 1 / (env.spec().step_seconds * every_)) {}

  void Watch(const envs::MujocoEnv& env) {
    if (step_++ % every_ == 0) writer_.Add(renderer_.Frame(env));
  }
  void Close() { writer_.Close(); }

 private:
  int every_;  // steps a frame
  int step_ = 0;
  envs::Renderer renderer_;
  envs::VideoWriter writer_;
};

nlohmann::json Report(const RolloutCommand& command, const envs::EnvSpec& spec,
                      const agents::RolloutResult& result) {
  const Interval iqm = BootstrapInterval(result.returns, InterquartileMean, command.rollout.seed);
  nlohmann::json report = {
      {"env", spec.name},
      {"physics", PhysicsName(command.physics)},
      {"mujoco_version", envs::MujocoVersion()},
      {"torch_version", TorchVersion()},
      {"policy", command.policy},
      {"deterministic", command.deterministic},
      {"seed", command.rollout.seed},
      {"episodes", command.rollout.episodes},
      {"returns", result.returns},
      {"lengths", result.lengths},
      {"mean", Mean(result.returns)},
      {"std", Std(result.returns)},
      {"standard_error", StandardError(result.returns)},
      {"iqm", InterquartileMean(result.returns)},
      {"iqm_ci", {iqm.low, iqm.high}},
      {"normalized_score", nullptr},
      {"normalized_score_ci", nullptr},
      {"diverged", result.diverged},
  };
  if (spec.score_range) {
    const auto score = [&](double r) { return envs::NormalizedScore(*spec.score_range, r); };
    const Interval mean = BootstrapInterval(result.returns, Mean, command.rollout.seed);
    report["normalized_score"] = score(Mean(result.returns));
    report["normalized_score_ci"] = {score(mean.low), score(mean.high)};
  }
  return report;
}

void Print(const nlohmann::json& report) {
  std::vector<double> lengths = report["lengths"];
  const auto number = [&](const char* key) { return report[key].get<double>(); };
  std::printf("%s, %s physics, %d episodes, seed %s\n", report["env"].get<std::string>().c_str(),
              report["physics"].get<std::string>().c_str(), report["episodes"].get<int>(),
              report["seed"].dump().c_str());
  std::printf("return             %.1f +- %.1f (standard error %.1f)\n", number("mean"),
              number("std"), number("standard_error"));
  std::printf("interquartile mean %.1f, 95 %% interval [%.1f, %.1f]\n", number("iqm"),
              report["iqm_ci"][0].get<double>(), report["iqm_ci"][1].get<double>());
  if (!report["normalized_score"].is_null()) {
    std::printf("normalized score   %.2f, 95 %% interval [%.2f, %.2f]\n",
                number("normalized_score"), report["normalized_score_ci"][0].get<double>(),
                report["normalized_score_ci"][1].get<double>());
  }
  std::printf("length             %.1f steps\n", Mean(lengths));
  if (report["diverged"] != 0) {
    std::printf("diverged           %d episodes were ended by a bad state of the simulator\n",
                report["diverged"].get<int>());
  }
}

void Run(RolloutCommand& command) {
  // a policy computes blocks of 32 rows: threads of its own would only get in the simulation's way
  at::set_num_threads(1);
  const std::unique_ptr<envs::Env> env = envs::MakeEnv(command.env, command.physics);
  const std::unique_ptr<agents::Policy> policy =
      agents::MakePolicy(command.policy, env->spec(), command.deterministic);
  std::unique_ptr<Recorder> recorder;
  if (!command.video.empty()) {
    recorder =
        std::make_unique<Recorder>(dynamic_cast<const envs::MujocoEnv&>(*env), command.video);
    command.rollout.watch = [&](const envs::Env& e) {
      recorder->Watch(dynamic_cast<const envs::MujocoEnv&>(e));
    };
  }
  const agents::RolloutResult result = agents::Rollout(*env, *policy, command.rollout);
  const nlohmann::json report = Report(command, env->spec(), result);
  if (command.json) {
    std::printf("%s\n", report.dump().c_str());
  } else {
    Print(report);
  }
  if (recorder) recorder->Close();
}

}  // namespace

void AddRolloutCommand(CLI::App& program) {
  auto command = std::make_shared<RolloutCommand>();
  CLI::App* app =
      program.add_subcommand("rollout", "play episodes of a policy and report their returns");
  AddEnvOption(*app, command->env);
  app->add_option(
         "--policy", command->policy,
         "random, zero, a file with D4RL's metadata/policy, or demo/hopper-medium and the like")
      ->required();
  AddEpisodesOption(*app, command->rollout.episodes);
  AddPhysicsOption(*app, command->physics);
  AddSeedOption(*app, command->rollout.seed, "of initial states and action noise");
  app->add_flag("--deterministic", command->deterministic, "take the policy's mean action");
  AddThreadsOption(*app, command->rollout.threads);
  app->add_option("--video", command->video, "record episode 0 to this MP4 file")
      ->check([](const std::string& file) {
        return file.ends_with(".mp4") ? ""
                                      : "expected a name that ends in .mp4, found '" + file + "'";
      });
  app->add_flag("--json", command->json, "print one JSON object");
  app->callback([command] { Run(*command); });
}

}  // namespace cosdt::experiments
