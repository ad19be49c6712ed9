// cosdt bench behaviour: SAC updates per second, as a share of the machine's peak and against other
// libraries.
#include <ATen/Parallel.h>

#include <cstdio>
#include <memory>
#include <sstream>
#include <stdexcept>

#include "agents/behaviour/sac.h"
#include "agents/behaviour/transition_log.h"
#include "attention/linear_kernels.h"
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
      : spec_(spec), sac_(spec, {}, 0), log_(spec, kTransitions, "") {
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
                            torch::randn({2 * rows, spec_.action_size}));
      sac_.Step();
      return 1;
    });
  }

  double FlopsPerUpdate() const {
    return agents::SacUpdate::Flops(spec_.observation_size, spec_.action_size,
                                    sac_.options().hidden, sac_.options().batch_size);
  }

 private:
  envs::EnvSpec spec_;
  agents::Sac sac_;
  agents::TransitionLog log_;
};

// The libraries, with versions, that the baseline's Python has. Says which it has not.
std::vector<std::string> Libraries(const PythonBaseline& baseline) {
  std::vector<std::string> found;
  std::istringstream list(baseline.library());
  for (std::string library; std::getline(list >> std::ws, library, ',');) {
    if (library.ends_with(" absent")) {
      std::fprintf(stderr, "%s\n", library.c_str());
    } else {
      found.push_back(library);
    }
  }
  if (found.empty()) {
    throw std::runtime_error("--python: expected one of these libraries, found none: " +
                             baseline.library());
  }
  return found;
}

void Run(const BenchBehaviourCommand& command) {
  const BenchOptions& options = command.options;
  at::set_num_threads(options.threads);
  std::unique_ptr<PythonBaseline> baseline;
  std::vector<std::string> libraries;
  if (!options.python.empty()) {
    baseline = std::make_unique<PythonBaseline>(
        options.python, kBenchBehaviourPy, "gymnasium and stable-baselines3, sbx-rl or rltools");
    libraries = Libraries(*baseline);
  }
  std::vector<BenchRow> rows;
  for (const std::string& name : command.envs) {
    const envs::EnvSpec spec = envs::MakeEnv(name)->spec();
    RandomLearner learner(spec);
    const std::string row = name + ", " + std::to_string(options.threads) + " thread" +
                            (options.threads == 1 ? "" : "s");
    rows.push_back(CompareRates(
        row, "MFLOP of products", "multiply-adds on registers",
        [&] { return learner.FlopsPerUpdate() * learner.UpdatesPerSecond() / 1e6; },
        [&] { return options.threads * attention::kernels::MeasurePeakFlops() / 1e6; },
        options.repeats));
    for (const std::string& library : libraries) {
      const std::string arguments =
          library.substr(0, library.find(' ')) + " " + std::to_string(spec.observation_size) + " " +
          std::to_string(spec.action_size) + " " + std::to_string(options.threads) + " " +
          std::to_string(kBehaviourSeconds);
      rows.push_back(CompareRates(
          row, "updates", library, [&] { return learner.UpdatesPerSecond(); },
          [&] { return std::stod(baseline->Ask(arguments)); }, options.repeats));
    }
  }
  PrintRows(rows, options.json);
}

}  // namespace

void AddBenchBehaviour(CLI::App& bench) {
  auto command = std::make_shared<BenchBehaviourCommand>();
  CLI::App* app = bench.add_subcommand("behaviour", "measure SAC updates per second");
  app->add_option("--env", command->envs, "environments")->check(CLI::IsMember(envs::BodyNames()));
  AddBenchOptions(*app, command->options, "threads of LibTorch, on both sides",
                  "Python interpreter with stable-baselines3, sbx-rl or rltools to compare with");
  app->callback([command] { Run(*command); });
}

}  // namespace cosdt::experiments
