// cosdt bench train: updates per second against Hugging Face Transformers and as shares of the
// machine's peak, and the cost of a token in long contexts.
#include <ATen/DeviceAccelerator.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <thread>

#include "agents/kernels/gemm.h"
#include "agents/training/trainer.h"
#include "attention/linear_kernels.h"
#include "envs/registry.h"
#include "experiments/bench/bench.h"
#include "experiments/bench/python_baseline.h"
#include "experiments/embedded.h"
#include "experiments/program/device.h"
#include "experiments/program/timing.h"
#include "experiments/scores/statistics.h"

namespace cosdt::experiments {
namespace {

// Seconds of a measurement; on a GPU nothing else disturbs it.
int Seconds(const c10::Device& device) { return device.is_cpu() ? 10 : 2; }
constexpr int kEpisodes = 100;
constexpr int kLength = 1000;  // of an episode

struct BenchTrainCommand {
  std::vector<std::string> envs = {"hopper", "halfcheetah"};
  std::string device = "cpu";
  std::vector<std::string> precisions = {"fp32", "tf32", "bf16"};  // on a GPU
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

// The original's size and recipe except for the arguments.
class Training {
 public:
  Training(const datasets::Episodes& episodes, const std::string& attention,
           const std::string& precision, int64_t context, int64_t batch_size,
           const c10::Device& device = c10::kCPU)
      : device_(device),
        trainer_(Draw(episodes, attention, context, StartOver(device)), episodes,
                 datasets::MakeNormalizer(episodes),
                 {.batch_size = batch_size, .precision = precision}),
        tokens_(static_cast<double>(trainer_.agent().options().tokens_per_step() * batch_size *
                                    context)) {
    trainer_.Update(kWarmUp);
    if (device_.is_cpu()) return;
    // a GPU is given many updates at once, as in training
    const double rate = Rate(0, [&] {
      trainer_.Update(kWarmUp);
      return static_cast<long>(kWarmUp);
    });
    at_once_ = std::clamp<int64_t>(std::llround(rate / 4), 1, 100);
  }

  // FLOP of an update's matrix products as the loss needs them: three products per weight of the
  // blocks and token, and in the last block only keys and values of tokens other than observations.
  double FlopsPerUpdate() {
    const agents::DecisionTransformerOptions& o = trainer_.agent().options().dt;
    const auto width = static_cast<double>(o.width);
    const double blocks =
        12 * static_cast<double>(o.layers - 1) + 2 + 10 / static_cast<double>(o.tokens);
    return 3 * 2 * tokens_ * blocks * width * width;
  }

  double tokens() const { return tokens_; }  // of an update

  double UpdatesPerSecond() {
    return Rate(Seconds(device_), [&] {
      trainer_.Update(at_once_);
      return static_cast<long>(at_once_);
    });
  }

  // "composed " if the GPU's kernels for updates do not support this one.
  std::string PathNote() const {
    return trainer_.update_path() == "composition" ? "composed " : "";
  }

  // Bytes of the GPU since this object was made.
  double PeakMemory() const {
    return static_cast<double>(UseOf(device_).peak_device_memory.value());
  }

 private:
  static constexpr int64_t kWarmUp = 5;

  // Frees the memory of earlier objects, so that it is not counted here.
  static const c10::Device& StartOver(const c10::Device& device) {
    if (!device.is_cpu()) at::accelerator::emptyCache();
    ResetPeakDeviceMemory(device);
    return device;
  }

  static std::shared_ptr<agents::Agent> Draw(const datasets::Episodes& episodes,
                                             const std::string& attention, int64_t context,
                                             const c10::Device& device) {
    torch::manual_seed(0);
    agents::AgentOptions options;
    options.SetSizes(episodes.observation_size, episodes.action_size);
    options.dt.attention.kind = attention;
    options.dt.context = context;
    const std::shared_ptr<agents::Agent> agent = agents::MakeAgent(options);
    agent->module().to(device);
    return agent;
  }

  c10::Device device_;
  agents::Trainer trainer_;
  double tokens_;  // of an update
  int64_t at_once_ = 1;
};

std::string Arguments(const BenchTrainCommand& command, const envs::EnvSpec& spec,
                      const std::string& precisions, const c10::Device& device) {
  return std::to_string(spec.observation_size) + " " + std::to_string(spec.action_size) + " " +
         precisions + " " + std::to_string(command.options.threads) + " " +
         std::to_string(Seconds(device)) + " " + device.str();
}

void AddBaselineRows(const BenchTrainCommand& command, const PythonBaseline& baseline,
                     std::vector<BenchRow>& rows) {
  const std::string threads = command.options.threads == 1
                                  ? ""
                                  : ", " + std::to_string(command.options.threads) + " threads";
  struct Pair {
    const char *attention, *precision, *against;
  };
  std::vector<Pair> pairs = {{"cosformer", "fp32", "fp32"}, {"softmax", "fp32", "fp32"}};
  if (agents::kernels::BFloat16IsFaster() || agents::kernels::ProcessorHasAmx()) {
    pairs.insert(pairs.end(), {{"cosformer", "bf16", "fp32"}, {"cosformer", "bf16", "bf16"}});
  }
  for (const std::string& name : command.envs) {
    const envs::EnvSpec spec = envs::MakeEnv(name)->spec();
    const datasets::Episodes episodes = RandomEpisodes(spec);
    for (const Pair& pair : pairs) {
      Training ours(episodes, pair.attention, pair.precision, 20, 64);
      const std::string arguments = Arguments(command, spec, pair.against, c10::kCPU);
      rows.push_back(CompareRates(
          name + ", " + pair.attention + " " + pair.precision + threads, "updates",
          baseline.library() + " " + pair.against, [&] { return ours.UpdatesPerSecond(); },
          [&] { return std::stod(baseline.Ask(arguments)); }, command.options.repeats));
    }
  }
}

// Results of the baseline on a GPU.
struct GpuBaseline {
  std::string name;  // with mode and precision
  double rate = 0, bytes = 0;
};

// By precision: eager and compiled.
std::map<std::string, std::vector<GpuBaseline>> AskGpuBaseline(const BenchTrainCommand& command,
                                                               const PythonBaseline& baseline,
                                                               const envs::EnvSpec& spec,
                                                               const c10::Device& device) {
  std::map<std::string, std::vector<GpuBaseline>> baselines;
  std::string list;
  for (const std::string& p : command.precisions) list += (list.empty() ? "" : ",") + p;
  std::istringstream answer(baseline.Ask(Arguments(command, spec, list, device)));
  for (const std::string& precision : command.precisions) {
    for (const char* mode : {" eager ", " compiled "}) {
      GpuBaseline r{baseline.library() + mode + precision};
      if (!(answer >> r.rate >> r.bytes)) {
        throw std::runtime_error(baseline.library() + ": expected rates and bytes, found " +
                                 answer.str());
      }
      baselines[precision].push_back(r);
    }
  }
  return baselines;
}

// Both sides on a GPU: the baseline runs once, as it takes a minute to compile.
void AddGpuRows(const BenchTrainCommand& command, const PythonBaseline* baseline,
                const c10::Device& device, std::vector<BenchRow>& rows) {
  for (const std::string& name : command.envs) {
    const envs::EnvSpec spec = envs::MakeEnv(name)->spec();
    const datasets::Episodes episodes = RandomEpisodes(spec);
    std::map<std::string, std::vector<GpuBaseline>> baselines;
    if (baseline) baselines = AskGpuBaseline(command, *baseline, spec, device);
    for (const std::string& precision : command.precisions) {
      for (const char* attention : {"cosformer", "softmax"}) {
        Training ours(episodes, attention, precision, 20, 64, device);
        std::vector<double> rates;
        for (int i = 0; i < command.options.repeats; ++i) rates.push_back(ours.UpdatesPerSecond());
        const double rate = Median(rates), bytes = ours.PeakMemory();
        const std::string row = name + ", " + attention + " " + ours.PathNote() + precision;
        if (!baseline) {
          rows.push_back({row, "updates", rate, "1/s", "", 0, 0});
          rows.push_back({row, "peak device memory", bytes / 1e6, "MB", "", 0, 0});
        }
        for (const GpuBaseline& r : baselines[precision]) {
          rows.push_back({row, "updates", rate, "1/s", r.name, r.rate, rate / r.rate});
          rows.push_back({row, "peak device memory", bytes / 1e6, "MB", r.name, r.bytes / 1e6,
                          r.bytes / bytes});
        }
      }
    }
  }
}

// Tokens per second of a whole update with as many tokens at K = 1000 as at K = 100.
void AddContextRows(const BenchTrainCommand& command, const c10::Device& device,
                    std::vector<BenchRow>& rows) {
  const datasets::Episodes episodes = RandomEpisodes(envs::MakeEnv("hopper")->spec());
  const int64_t steps = device.is_cpu() ? 2000 : 64'000;  // of an update
  for (const std::string attention : {"cosformer", "softmax"}) {
    Training longer(episodes, attention, "fp32", 1000, steps / 1000, device);
    if (!device.is_cpu()) {
      rows.push_back({attention + ", K = 1000", "peak device memory", longer.PeakMemory() / 1e6,
                      "MB", "", 0, 0});
    }
    Training shorter(episodes, attention, "fp32", 100, steps / 100, device);
    const double tokens = shorter.tokens();
    rows.push_back(CompareRates(
        attention + ", K = 1000", "tokens", attention + ", K = 100",
        [&] { return tokens * longer.UpdatesPerSecond(); },
        [&] { return tokens * shorter.UpdatesPerSecond(); }, command.options.repeats));
  }
}

// The original recipe as shares of this machine: of its peak, of one thread, of float32.
void AddMachineRows(const BenchTrainCommand& command, std::vector<BenchRow>& rows) {
  const datasets::Episodes episodes = RandomEpisodes(envs::MakeEnv("hopper")->spec());
  const int threads = command.options.threads, repeats = command.options.repeats;
  Training exact(episodes, "cosformer", "fp32", 20, 64),
      rounded(episodes, "cosformer", "bf16", 20, 64);
  rows.push_back(CompareRates(
      "cosformer fp32, " + std::to_string(threads) + " threads", "MFLOP of matrix products",
      "multiply-adds on registers",
      [&] { return exact.FlopsPerUpdate() * exact.UpdatesPerSecond() / 1e6; },
      [&] { return threads * attention::kernels::MeasurePeakFlops() / 1e6; }, repeats));
  rows.push_back(CompareRates(
      "cosformer bf16", "updates", "fp32", [&] { return rounded.UpdatesPerSecond(); },
      [&] { return exact.UpdatesPerSecond(); }, repeats));
  if (agents::kernels::ProcessorHasBFloat16()) {
    rows.push_back(CompareRates(
        "bfloat16 dot products", "MFLOP on registers", "float32 multiply-adds",
        [] { return agents::kernels::MeasureBFloat16PeakFlops() / 1e6; },
        [] { return attention::kernels::MeasurePeakFlops() / 1e6; }, repeats));
  }
  const auto with_threads = [&](int count) {
    at::set_num_threads(count);
    const double rate = exact.UpdatesPerSecond();
    at::set_num_threads(threads);
    return rate;
  };
  const auto processors = static_cast<int>(std::thread::hardware_concurrency());
  for (int count = 2; count <= processors; count *= 2) {
    rows.push_back(CompareRates(
        "cosformer fp32, " + std::to_string(count) + " threads", "updates", "1 thread",
        [&] { return with_threads(count); }, [&] { return with_threads(1); }, repeats));
  }
}

void Run(const BenchTrainCommand& command) {
  agents::KeepFreedMemory();
  at::set_num_threads(command.options.threads);
  const c10::Device device = ResolveDevice(command.device);
  std::vector<BenchRow> rows;
  std::unique_ptr<PythonBaseline> baseline;
  if (!command.options.python.empty()) {
    baseline = std::make_unique<PythonBaseline>(command.options.python, kBenchTrainPy,
                                                "torch and transformers");
  }
  if (!device.is_cpu()) {
    AddGpuRows(command, baseline.get(), device, rows);
  } else if (baseline) {
    AddBaselineRows(command, *baseline, rows);
  }
  if (device.is_cpu()) AddMachineRows(command, rows);
  AddContextRows(command, device, rows);
  PrintRows(rows, command.options.json, UseOf(device));
}

}  // namespace

void AddBenchTrain(CLI::App& bench) {
  auto command = std::make_shared<BenchTrainCommand>();
  CLI::App* app =
      bench.add_subcommand("train", "measure updates per second of Decision Transformers");
  app->add_option("--env", command->envs, "environments")->check(CLI::IsMember(envs::BodyNames()));
  AddBenchOptions(*app, command->options, "threads of LibTorch, on both sides",
                  "Python interpreter with torch and transformers to compare with");
  AddDeviceOption(*app, command->device, "device of both sides");
  app->add_option("--precision", command->precisions,
                  "precisions on a GPU, with commas: fp32, tf32, bf16")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(CLI::IsMember({"fp32", "tf32", "bf16"}));
  app->callback([command] { Run(*command); });
}

}  // namespace cosdt::experiments
