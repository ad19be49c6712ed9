// cosdt bench train: updates a second against PyPI transformers, and what a token costs in long
// contexts.
#include <ATen/Parallel.h>

#include <memory>

#include "agents/products.h"
#include "agents/trainer.h"
#include "envs/registry.h"
#include "experiments/bench.h"
#include "experiments/embedded.h"
#include "experiments/program.h"
#include "experiments/python_rival.h"

namespace cosdt::experiments {
namespace {

constexpr int kSeconds = 10;  // of one measurement
constexpr int kEpisodes = 100;
constexpr int kLength = 1000;  // of an episode

struct BenchTrainCommand {
  std::vector<std::string> envs = {"hopper", "halfcheetah"};
  BenchOptions options;
};

datasets::Episodes RandomEpisodes(const envs::EnvSpec& spec) {
  torch::manual_seed(0);
  const auto random = [](int64_t count) {
    const torch::Tensor numbers = torch::rand(count) * 2 - 1;
    const float* const data = numbers.const_data_ptr<float>();
    return datasets::FloatVector(data, data + count);
  };
  datasets::Episodes episodes;
  episodes.env = spec.name;
  episodes.observation_size = spec.observation_size;
  episodes.action_size = spec.action_size;
  constexpr int64_t kRows = int64_t{kEpisodes} * kLength;
  episodes.observations = random(kRows * spec.observation_size);
  episodes.actions = random(kRows * spec.action_size);
  episodes.rewards = random(kRows);
  episodes.offsets = {0};
  for (int i = 0; i < kEpisodes; ++i) {
    episodes.offsets.push_back(static_cast<size_t>(i + 1) * kLength);
    episodes.endings.push_back(datasets::Ending::kTimeout);
  }
  datasets::SumReturns(episodes);
  return episodes;
}

// The original's size and recipe but for what is given.
class Training {
 public:
  Training(const datasets::Episodes& episodes, const std::string& attention,
           const std::string& precision, int64_t context, int64_t batch_size)
      : trainer_(MakeAgent(episodes, attention, context), episodes,
                 datasets::MakeNormalizer(episodes),
                 {.batch_size = batch_size, .precision = precision}) {
    for (int i = 0; i < 3; ++i) trainer_.Update();
  }

  double UpdatesPerSecond() {
    return Rate(kSeconds, [this] {
      trainer_.Update();
      return 1;
    });
  }

 private:
  static agents::Agent MakeAgent(const datasets::Episodes& episodes, const std::string& attention,
                                 int64_t context) {
    torch::manual_seed(0);
    agents::AgentOptions options;
    options.SetSizes(episodes.observation_size, episodes.action_size);
    options.dt.attention.kind = attention;
    options.dt.context = context;
    return agents::Agent(options);
  }

  agents::Trainer trainer_;
};

void AddRivalRows(const BenchTrainCommand& command, const PythonRival& rival,
                  std::vector<BenchRow>& rows) {
  const std::string threads = command.options.threads == 1
                                  ? ""
                                  : ", " + std::to_string(command.options.threads) + " threads";
  struct Pair {
    const char *attention, *precision, *against;
  };
  std::vector<Pair> pairs = {{"cosformer", "fp32", "fp32"}, {"softmax", "fp32", "fp32"}};
  if (agents::products::ProcessorHasBFloat16()) {
    pairs.insert(pairs.end(), {{"cosformer", "bf16", "fp32"}, {"cosformer", "bf16", "bf16"}});
  }
  for (const std::string& name : command.envs) {
    const envs::EnvSpec spec = envs::MakeEnv(name)->spec();
    const datasets::Episodes episodes = RandomEpisodes(spec);
    for (const Pair& pair : pairs) {
      Training ours(episodes, pair.attention, pair.precision, 20, 64);
      const std::string arguments = std::to_string(spec.observation_size) + " " +
                                    std::to_string(spec.action_size) + " " + pair.against + " " +
                                    std::to_string(command.options.threads) + " " +
                                    std::to_string(kSeconds);
      rows.push_back(CompareRates(
          name + ", " + pair.attention + " " + pair.precision + threads, "updates",
          rival.library() + " " + pair.against, [&] { return ours.UpdatesPerSecond(); },
          [&] { return std::stod(rival.Ask(arguments)); }, command.options.repeats));
    }
  }
}

// Tokens a second of a whole update with as many tokens at K = 1000 as at K = 100.
void AddContextRows(const BenchTrainCommand& command, std::vector<BenchRow>& rows) {
  const datasets::Episodes episodes = RandomEpisodes(envs::MakeEnv("hopper")->spec());
  constexpr int64_t kSteps = 2000;  // of an update
  for (const std::string attention : {"cosformer", "softmax"}) {
    Training longer(episodes, attention, "fp32", 1000, kSteps / 1000);
    Training shorter(episodes, attention, "fp32", 100, kSteps / 100);
    constexpr double kTokens = kSteps * static_cast<double>(agents::kTokensPerStep);
    rows.push_back(CompareRates(
        attention + ", K = 1000", "tokens", attention + ", K = 100",
        [&] { return kTokens * longer.UpdatesPerSecond(); },
        [&] { return kTokens * shorter.UpdatesPerSecond(); }, command.options.repeats));
  }
}

void Run(const BenchTrainCommand& command) {
  agents::KeepFreedMemory();
  at::set_num_threads(command.options.threads);
  std::vector<BenchRow> rows;
  if (!command.options.python.empty()) {
    AddRivalRows(command,
                 PythonRival(command.options.python, kBenchTrainPy, "torch and transformers"),
                 rows);
  } else {
    std::fprintf(stderr, "without --python only contexts are compared\n");
  }
  AddContextRows(command, rows);
  PrintRows(rows, command.options.json);
}

}  // namespace

void AddBenchTrain(CLI::App& bench) {
  auto command = std::make_shared<BenchTrainCommand>();
  CLI::App* app = bench.add_subcommand("train", "updates a second of Decision Transformers");
  app->add_option("--env", command->envs, "bodies")->check(CLI::IsMember(envs::BodyNames()));
  AddBenchOptions(*app, command->options, "of LibTorch, on both sides",
                  "a Python with torch and transformers to compare with");
  app->callback([command] { Run(*command); });
}

}  // namespace cosdt::experiments
