// cosdt bench behaviour: SAC updates per second against stable-baselines3.
#include <ATen/Parallel.h>

#include <cstdio>
#include <memory>

#include "agents/behaviour/sac.h"
#include "agents/behaviour/transition_log.h"
#include "envs/registry.h"
#include "experiments/bench/bench.h"
#include "experiments/bench/python_baseline.h"
#include "experiments/embedded.h"
#include "experiments/program/timing.h"

namespace cosdt::experiments {
namespace {

constexpr int kBehaviourSeconds = 5;  // of one measurement
constexpr int64_t kTransitions = 20000;

struct BenchBehaviourCommand {
  std::vector<std::string> envs = {"hopper", "halfcheetah"};
  BenchOptions options = {.repeats = 3};
};

// Updates on random transitions, drawn and gathered as in training.
class RandomLearner {
 public:
  explicit RandomLearner(const envs::EnvSpec& spec)
      : action_size_(spec.action_size), sac_(spec, {}, 0), log_(spec, kTransitions, "") {
    const torch::Tensor observations = torch::randn({kTransitions, spec.observation_size});
    const torch::Tensor actions = torch::rand({kTransitions, spec.action_size}) * 2 - 1;
    const torch::Tensor rewards = torch::randn(kTransitions);
    const auto row = [](const torch::Tensor& t, int64_t i) {
      return std::span(t.const_data_ptr<float>() + i * t.size(1), t.size(1));
    };
    for (int64_t i = 0; i < kTransitions; ++i) {
      log_.Append({.observation = row(observations, i),
                   .action = row(actions, i),
                   .next_observation = row(observations, (i + 1) % kTransitions),
                   .reward = rewards[i].item<float>()});
    }
  }

  double UpdatesPerSecond() {
    return Rate(kBehaviourSeconds, [&] {
      const int64_t rows = sac_.options().batch_size;
      sac_.ComputeGradients(log_.Gather(torch::randint(kTransitions, {rows}, torch::kLong)),
                            torch::randn({2 * rows, action_size_}));
      sac_.Step();
      return 1;
    });
  }

 private:
  int64_t action_size_;
  agents::Sac sac_;
  agents::TransitionLog log_;
};

void Run(const BenchBehaviourCommand& command) {
  at::set_num_threads(command.options.threads);
  const PythonBaseline baseline(command.options.python, kBenchBehaviourPy, "stable-baselines3");
  std::vector<BenchRow> rows;
  for (const std::string& name : command.envs) {
    const envs::EnvSpec spec = envs::MakeEnv(name)->spec();
    RandomLearner learner(spec);
    const std::string arguments =
        std::to_string(spec.observation_size) + " " + std::to_string(spec.action_size) + " " +
        std::to_string(command.options.threads) + " " + std::to_string(kBehaviourSeconds);
    const std::string threads = ", " + std::to_string(command.options.threads) + " thread" +
                                (command.options.threads == 1 ? "" : "s");
    rows.push_back(CompareRates(
        name + threads, "updates", baseline.library(), [&] { return learner.UpdatesPerSecond(); },
        [&] { return std::stod(baseline.Ask(arguments)); }, command.options.repeats));
  }
  PrintRows(rows, command.options.json);
}

}  // namespace

void AddBenchBehaviour(CLI::App& bench) {
  auto command = std::make_shared<BenchBehaviourCommand>();
  CLI::App* app =
      bench.add_subcommand("behaviour", "measure SAC updates per second against stable-baselines3");
  app->add_option("--env", command->envs, "environments")->check(CLI::IsMember(envs::BodyNames()));
  AddBenchOptions(*app, command->options, "threads of LibTorch, on both sides",
                  "Python interpreter with stable-baselines3")
      ->required();
  app->callback([command] { Run(*command); });
}

}  // namespace cosdt::experiments
