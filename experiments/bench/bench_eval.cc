// cosdt bench eval: environment steps per second of an evaluation against PyPI transformers, and
// the latency of a decision.
#include <ATen/Parallel.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <numeric>

#include "agents/decoding/decoder.h"
#include "agents/kernels/gemm.h"
#include "agents/models/precision.h"
#include "datasets/normalizer.h"
#include "envs/registry.h"
#include "envs/vector_env.h"
#include "experiments/bench/bench.h"
#include "experiments/bench/python_baseline.h"
#include "experiments/embedded.h"
#include "experiments/program/timing.h"
#include "experiments/scores/statistics.h"

namespace cosdt::experiments {
namespace {

constexpr double kEvalSeconds = 3.0;  // of one measurement
constexpr int kHorizon = 1000;
constexpr double kReturnScale = 1000;

struct BenchEvalCommand {
  std::vector<std::string> envs = {"hopper", "halfcheetah"};
  BenchOptions options;
};

// The original's size with random weights. Recurrent decoding needs a longer reach.
agents::Agent MakeAgent(const envs::EnvSpec& spec, agents::DecodeMode mode) {
  torch::manual_seed(0);
  agents::AgentOptions options;
  options.SetSizes(spec.observation_size, spec.action_size);
  if (mode == agents::DecodeMode::kRecurrent) {
    options.dt.attention.reweight_length = 2 * agents::kTokensPerStep * kHorizon;
  }
  agents::Agent agent(options);
  agent.module().eval();
  return agent;
}

// Bodies that an agent moves in lock step, as many as an evaluation of 100 episodes has side by
// side. One that falls is set up again and its context goes on, so that every step has the whole
// context, as an agent's that does not fall.
class LockStep {
 public:
  LockStep(const envs::Env& prototype, agents::DecodeMode mode, torch::ScalarType compute_type,
           int threads)
      : agent_(MakeAgent(prototype.spec(), mode)),
        factory_(agent_, mode, kHorizon, compute_type),
        pool_(threads),
        rows_(std::min(100, factory_.RowsAtOnce(threads))),
        env_(prototype, static_cast<int>(rows_.size()), pool_),
        to_go_(rows_.size()),
        observations_(rows_.size() * prototype.spec().observation_size),
        actions_(rows_.size() * prototype.spec().action_size),
        rng_(envs::MakeRng(0, 0)) {
    std::iota(rows_.begin(), rows_.end(), 0);
    normalizer_.mean.assign(prototype.spec().observation_size, 0.1f);
    normalizer_.std.assign(prototype.spec().observation_size, 1.1f);
  }

  double StepsPerSecond() {
    Start();
    return Rate(kEvalSeconds, [this] {
      if (step_ == kHorizon) Start();
      Step();
      return static_cast<long>(rows_.size());
    });
  }

 private:
  // Episodes of one context's length: what is measured comes after them.
  void Start() {
    decoder_ = factory_.Make(static_cast<int>(rows_.size()), pool_);
    for (const int row : rows_) env_.Reset(row, rng_());
    std::ranges::fill(to_go_, 3.6f);
    step_ = 0;
    while (step_ < agent_.options().dt.context) Step();
  }

  void Step() {
    const size_t size = normalizer_.mean.size();
    for (const int row : rows_) {
      std::ranges::copy(env_.observation(row), observations_.begin() + row * size);
    }
    normalizer_.Apply(observations_, observations_);
    decoder_->Decide(to_go_, observations_, actions_);
    env_.Step(rows_, actions_);
    for (const int row : rows_) {
      const envs::StepResult& result = env_.result(row);
      to_go_[row] -= static_cast<float>(result.reward / kReturnScale);
      if (result.terminated || result.truncated) env_.Reset(row, rng_());
    }
    ++step_;
  }

  agents::Agent agent_;
  agents::DecoderFactory factory_;
  envs::ThreadPool pool_;
  std::vector<int> rows_;
  envs::VectorEnv env_;
  std::unique_ptr<agents::Decoder> decoder_;
  datasets::Normalizer normalizer_;
  std::vector<float> to_go_, observations_, actions_;
  envs::Rng rng_;
  int step_ = 0;
};

// Microseconds of one row's recurrent decision behind contexts of these lengths, means over two of
// the periods in which the state takes up its latest tokens.
std::vector<double> Latencies(const agents::DecoderFactory& factory, const envs::EnvSpec& spec,
                              const std::vector<int>& contexts) {
  constexpr int kDecisions = 42;
  envs::ThreadPool pool(1);
  const auto decoder = factory.Make(1, pool);
  const std::vector<float> to_go = {3.6f}, observation(spec.observation_size, 0.1f);
  std::vector<float> action(spec.action_size);
  std::vector<double> latencies;
  int step = 0;
  for (const int context : contexts) {
    for (; step < context; ++step) decoder->Decide(to_go, observation, action);
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < kDecisions; ++i, ++step) decoder->Decide(to_go, observation, action);
    const std::chrono::duration<double, std::micro> elapsed =
        std::chrono::steady_clock::now() - start;
    latencies.push_back(elapsed.count() / kDecisions);
  }
  return latencies;
}

void AddLatencies(int repeats, std::vector<BenchRow>& rows) {
  const envs::EnvSpec spec = envs::MakeEnv("hopper")->spec();
  const std::vector<int> contexts = {20, 100, 300, 1000};
  const agents::Agent agent = MakeAgent(spec, agents::DecodeMode::kRecurrent);
  const agents::DecoderFactory factory(agent, agents::DecodeMode::kRecurrent, kHorizon);
  std::vector<std::vector<double>> measured(contexts.size());
  for (int i = 0; i < 4 * repeats; ++i) {
    const std::vector<double> turn = Latencies(factory, spec, contexts);
    for (size_t c = 0; c < contexts.size(); ++c) measured[c].push_back(turn[c]);
  }
  for (size_t c = 1; c < contexts.size(); ++c) {
    const double first = Median(measured[0]), value = Median(measured[c]);
    rows.push_back({"recurrent, context " + std::to_string(contexts[c]), "one decision", value,
                    "us", "context 20", first, first / value});
  }
}

double StepsPerSecond(const PythonBaseline& baseline, const std::string& env) {
  return std::stod(baseline.Ask(env + " " + std::to_string(kEvalSeconds)));
}

void Run(const BenchEvalCommand& command) {
  at::set_num_threads(1);
  std::vector<BenchRow> rows;
  std::unique_ptr<PythonBaseline> baseline;
  if (!command.options.python.empty()) {
    baseline = std::make_unique<PythonBaseline>(command.options.python, kBenchEvalPy,
                                                "torch, transformers and gymnasium[mujoco]");
  } else {
    std::fprintf(stderr, "without --python the modes are compared with window\n");
  }
  const std::string threads = command.options.threads == 1
                                  ? ""
                                  : ", " + std::to_string(command.options.threads) + " threads";
  std::vector<torch::ScalarType> types = {torch::kFloat32};
  if (agents::kernels::ProcessorHasBFloat16()) types.push_back(torch::kBFloat16);
  for (const std::string& name : command.envs) {
    // the body that the baseline has: gymnasium's
    const auto env = envs::MakeEnv(name, envs::Physics::kGymnasiumV4);
    LockStep window(*env, agents::DecodeMode::kWindow, torch::kFloat32, command.options.threads);
    for (const torch::ScalarType type : types) {
      for (const agents::DecodeMode mode : agents::kAllDecodeModes) {
        LockStep ours(*env, mode, type, command.options.threads);
        rows.push_back(CompareRates(
            name + ", " + agents::DecodeModeName(mode) + " " + agents::PrecisionName(type) +
                threads,
            "environment steps",
            baseline ? baseline->library() + ", 1 episode, 1 thread" : "window fp32",
            [&] { return ours.StepsPerSecond(); },
            [&] { return baseline ? StepsPerSecond(*baseline, name) : window.StepsPerSecond(); },
            command.options.repeats));
      }
    }
  }
  AddLatencies(command.options.repeats, rows);
  PrintRows(rows, command.options.json);
}

}  // namespace

void AddBenchEval(CLI::App& bench) {
  auto command = std::make_shared<BenchEvalCommand>();
  CLI::App* app =
      bench.add_subcommand("eval", "measure environment steps per second of an evaluation");
  app->add_option("--env", command->envs, "environments")->check(CLI::IsMember(envs::BodyNames()));
  AddBenchOptions(
      *app, command->options, "threads of cosdt; the baseline has one",
      "Python interpreter with torch, transformers and gymnasium[mujoco] to compare with");
  app->callback([command] { Run(*command); });
}

}  // namespace cosdt::experiments
