// cosdt bench eval: environment steps per second of an evaluation against Hugging Face
// Transformers, and the latency of a decision.
#include <ATen/Parallel.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <numeric>

#include "agents/decoding/agent_session.h"
#include "agents/kernels/gemm.h"
#include "agents/models/precision.h"
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
constexpr int kEpisodeSteps = 1000;
constexpr double kTarget = 3600;

struct BenchEvalCommand {
  std::vector<std::string> envs = {"hopper", "halfcheetah"};
  BenchOptions options;
};

// An agent of the original's size with random weights. Recurrent decoding needs a longer reach.
agents::AgentSession MakeSession(const envs::EnvSpec& spec, const agents::SessionOptions& options) {
  torch::manual_seed(0);
  agents::AgentOptions agent;
  agent.SetSizes(spec.observation_size, spec.action_size, spec.discrete_actions);
  if (options.decode == agents::DecodeMode::kRecurrent) {
    agent.dt.attention.reweight_length = 2 * agent.dt.tokens * options.horizon;
  }
  agents::Checkpoint checkpoint{agents::MakeAgent(agent), {}};
  checkpoint.agent->module().eval();
  checkpoint.info.normalizer.mean.assign(spec.observation_size, 0.1f);
  checkpoint.info.normalizer.std.assign(spec.observation_size, 1.1f);
  return agents::AgentSession(std::move(checkpoint), options);
}

// Bodies that an agent moves in lock step, as many as an evaluation of 100 episodes has side by
// side. One that falls is set up again and keeps its context, so that every step has the whole
// context, as an agent's that does not fall.
class LockStep {
 public:
  LockStep(const envs::Env& prototype, agents::DecodeMode mode, torch::ScalarType compute_type,
           int threads)
      : session_(MakeSession(prototype.spec(),
                             {.decode = mode, .compute_type = compute_type, .threads = threads})),
        rows_(std::min(100, session_.RowsAtOnce())),
        env_(prototype, static_cast<int>(rows_.size()), session_.pool()),
        observations_(rows_.size() * prototype.spec().observation_size),
        rewards_(rows_.size()),
        rng_(envs::MakeRng(0, 0)) {
    std::iota(rows_.begin(), rows_.end(), 0);
  }

  double StepsPerSecond() {
    Start();
    return Rate(kEvalSeconds, [this] {
      if (step_ == kEpisodeSteps) Start();
      Step();
      return static_cast<long>(rows_.size());
    });
  }

 private:
  // Episodes of one context's length: what is measured comes after them.
  void Start() {
    session_.Reset(std::vector<agents::Target>(rows_.size(), kTarget));
    for (const int row : rows_) env_.Reset(row, rng_());
    for (step_ = 0; step_ < session_.agent().options().context();) Step();
  }

  void Step() {
    const auto size = static_cast<ptrdiff_t>(observations_.size() / rows_.size());
    for (const int row : rows_) {
      std::ranges::copy(env_.observation(row), observations_.begin() + row * size);
    }
    const std::span<const double> actions = session_.Act(observations_, rewards_);
    actions_.assign(actions.begin(), actions.end());
    env_.Step(rows_, actions_);
    for (const int row : rows_) {
      const envs::StepResult& result = env_.result(row);
      rewards_[row] = result.reward;
      if (result.terminated || result.truncated) env_.Reset(row, rng_());
    }
    ++step_;
  }

  agents::AgentSession session_;
  std::vector<int> rows_;
  envs::VectorEnv env_;
  std::vector<double> observations_, rewards_;
  std::vector<float> actions_;
  envs::Rng rng_;
  int step_ = 0;
};

// Microseconds of one row's recurrent decision behind contexts of these lengths, means over two of
// the periods in which the state takes up its latest tokens.
std::vector<double> Latencies(agents::AgentSession& session, const envs::EnvSpec& spec,
                              const std::vector<int>& contexts) {
  constexpr int kDecisions = 42;
  const std::vector<double> observation(spec.observation_size, 0.1);
  session.Reset(kTarget);
  std::vector<double> latencies;
  int step = 0;
  for (const int context : contexts) {
    for (; step < context; ++step) session.Act(observation, 0);
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < kDecisions; ++i, ++step) session.Act(observation, 0);
    const std::chrono::duration<double, std::micro> elapsed =
        std::chrono::steady_clock::now() - start;
    latencies.push_back(elapsed.count() / kDecisions);
  }
  return latencies;
}

void AddLatencies(int repeats, std::vector<BenchRow>& rows) {
  const envs::EnvSpec spec = envs::MakeEnv("hopper")->spec();
  const std::vector<int> contexts = {20, 100, 300, 1000};
  agents::AgentSession session = MakeSession(spec, {.decode = agents::DecodeMode::kRecurrent});
  std::vector<std::vector<double>> measured(contexts.size());
  for (int i = 0; i < 4 * repeats; ++i) {
    const std::vector<double> turn = Latencies(session, spec, contexts);
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
  if (agents::kernels::BFloat16IsFaster()) types.push_back(torch::kBFloat16);
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
