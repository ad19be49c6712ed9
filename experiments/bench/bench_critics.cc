// cosdt bench critics: updates per second of agents with critics against PyTorch.
#include <ATen/Parallel.h>

#include <memory>
#include <random>

#include "agents/training/critic_trainer.h"
#include "envs/registry.h"
#include "experiments/bench/bench.h"
#include "experiments/bench/python_baseline.h"
#include "experiments/embedded.h"
#include "experiments/program/timing.h"

namespace cosdt::experiments {
namespace {

constexpr double kCriticSeconds = 2;  // of one measurement
constexpr size_t kCriticRows = 20000;

struct BenchCriticsCommand {
  std::vector<std::string> agents = {"td3bc", "rebrac", "iql"};
  std::string env = "hopper";
  BenchOptions options = {.repeats = 5};
};

// Random transitions of one long episode.
datasets::Episodes RandomTransitions(const envs::EnvSpec& spec) {
  datasets::Episodes e;
  e.observation_size = spec.observation_size;
  e.action_size = spec.action_size;
  envs::Rng rng = envs::MakeRng(0, 0);
  std::normal_distribution<float> normal;
  std::uniform_real_distribution<float> uniform(-1, 1);
  e.observations.resize(kCriticRows * static_cast<size_t>(spec.observation_size));
  e.actions.resize(kCriticRows * static_cast<size_t>(spec.action_size));
  e.rewards.resize(kCriticRows);
  for (float& x : e.observations) x = normal(rng);
  for (float& x : e.actions) x = uniform(rng);
  for (float& x : e.rewards) x = normal(rng);
  e.offsets = {0, kCriticRows};
  e.endings = {datasets::Ending::kTimeout};
  datasets::SumReturns(e);
  return e;
}

void RunBenchCritics(const BenchCriticsCommand& command) {
  const BenchOptions& options = command.options;
  at::set_num_threads(options.threads);
  const PythonBaseline baseline(options.python, kBenchCriticsPy, "torch");
  const envs::EnvSpec spec = envs::MakeEnv(command.env)->spec();
  const datasets::Episodes episodes = RandomTransitions(spec);
  std::vector<BenchRow> rows;
  for (const std::string& name : command.agents) {
    agents::AgentOptions agent;
    agent.kind = name;
    agent.SetSizes(spec.observation_size, spec.action_size);
    agents::CriticTrainer trainer(agents::MakeAgent(agent), episodes,
                                  datasets::MakeNormalizer(episodes), agents::UsualTraining(name));
    const std::string arguments = name + " " + std::to_string(spec.observation_size) + " " +
                                  std::to_string(spec.action_size) + " " +
                                  std::to_string(options.threads) + " " +
                                  std::to_string(kCriticSeconds);
    rows.push_back(CompareRates(
        name + ", " + command.env + ", threads " + std::to_string(options.threads), "updates",
        baseline.library(),
        [&] {
          return Rate(kCriticSeconds, [&] {
            trainer.Update(10);
            return 10L;
          });
        },
        [&] { return std::stod(baseline.Ask(arguments)); }, options.repeats));
  }
  PrintRows(rows, options.json);
}

}  // namespace

void AddBenchCritics(CLI::App& bench) {
  auto command = std::make_shared<BenchCriticsCommand>();
  CLI::App* app =
      bench.add_subcommand("critics", "measure updates per second of agents with critics");
  app->add_option("--agent", command->agents, "agents")
      ->check(CLI::IsMember(std::vector<std::string>(command->agents)));
  app->add_option("--env", command->env, "environment whose sizes the data have")
      ->check(CLI::IsMember(envs::BodyNames()));
  AddBenchOptions(*app, command->options, "threads of LibTorch, on both sides",
                  "Python interpreter with torch to compare with")
      ->required();
  app->callback([command] { RunBenchCritics(*command); });
}

}  // namespace cosdt::experiments
