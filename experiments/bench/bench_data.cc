// cosdt bench data: loading a D4RL file against h5py, the memory that takes, and sampling windows.
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <memory>
#include <random>
#include <stdexcept>
#include <vector>

#include "datasets/episodes.h"
#include "datasets/normalizer.h"
#include "datasets/transitions.h"
#include "datasets/window_sampler.h"
#include "experiments/bench/bench.h"
#include "experiments/bench/python_baseline.h"
#include "experiments/embedded.h"
#include "experiments/program/child_process.h"
#include "experiments/program/timing.h"

namespace cosdt::experiments {
namespace {

constexpr size_t kFileRows = 1000000;    // as hopper-medium-v2 has
constexpr int kBatch = 64;               // windows per update
constexpr int kContext = 20;             // the Decision Transformer's K
constexpr double kSamplerSeconds = 1.0;  // of one measurement of the sampler

struct BenchDataCommand {
  std::string dataset;
  BenchOptions options = {.threads = 2};
};

// A file of hopper-medium-v2's size: walks, as noisy in their last digits as measured data.
void WriteHopper(const std::string& path) {
  std::mt19937_64 rng(0);
  std::normal_distribution<float> normal;
  datasets::Transitions t;
  t.observation_size = 11;
  t.action_size = 3;
  const auto walk = [&](datasets::FloatVector& array, size_t width) {
    array.resize(kFileRows * width);
    for (size_t i = 0; i < array.size(); ++i) {
      array[i] = 0.95f * (i < width ? 0.0f : array[i - width]) + 0.3f * normal(rng);
    }
  };
  walk(t.observations, 11);
  walk(t.actions, 3);
  walk(t.rewards, 1);
  t.terminals.resize(kFileRows);
  t.timeouts.resize(kFileRows);
  for (size_t row = 456; row < kFileRows; row += 457) t.terminals[row] = 1;
  datasets::Hdf5Writer writer(path);
  datasets::WriteTransitions(t, writer);
  writer.Commit();
}

double Seconds(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

size_t KeptBytes(const datasets::Episodes& e) {
  return sizeof(float) * (e.observations.size() + e.actions.size() + e.rewards.size() +
                          e.returns_to_go.size()) +
         sizeof(double) * e.returns.size() + sizeof(size_t) * e.offsets.size();
}

// Peak memory of loading, over what it keeps.
double MemoryRatio(const std::string& path, int threads) {
  ReturnFreedMemory();
  const PeakMemory peak;
  const datasets::Episodes episodes = datasets::ReadEpisodes(path, {.threads = threads});
  return static_cast<double>(peak.bytes().value()) / static_cast<double>(KeptBytes(episodes));
}

BenchRow WindowRow(const datasets::Episodes& episodes, int context, int repeats) {
  datasets::WindowSampler sampler(episodes, {.context = context});
  const datasets::Normalizer normalizer = datasets::MakeNormalizer(episodes);
  const size_t steps = static_cast<size_t>(kBatch) * context;
  std::vector<datasets::Window> windows(kBatch);
  std::vector<float> observations(steps * episodes.observation_size);
  std::vector<float> actions(steps * episodes.action_size), returns_to_go(steps);
  std::vector<float> previous_actions(actions.size());
  std::vector<int64_t> timesteps(steps);
  const std::unique_ptr<bool[]> mask = std::make_unique<bool[]>(steps);
  const datasets::WindowBatch batch{observations,        actions,         returns_to_go, timesteps,
                                    {mask.get(), steps}, previous_actions};
  const auto batches = [&] {
    return Rate(kSamplerSeconds, [&] {
      sampler.Sample(windows);
      sampler.Fill(windows, &normalizer, batch);
      return 1L;
    });
  };
  // the least that any sampler must do: copy as many bytes
  const std::vector<float> source(observations.size() + 2 * actions.size() + 4 * steps);
  std::vector<float> target(source.size());
  const auto copies = [&] {
    return Rate(kSamplerSeconds, [&] {
      std::copy(source.begin(), source.end(), target.begin());
      return 1L;
    });
  };
  return CompareRates("context " + std::to_string(context) + ", batch " + std::to_string(kBatch),
                      "batches", "a plain copy of as many bytes", batches, copies, repeats);
}

void Run(const BenchDataCommand& command) {
  std::string path = command.dataset;
  // removes a made-up file even after an error
  struct Remover {
    std::string path;
    ~Remover() {
      if (!path.empty()) std::filesystem::remove(path);
    }
  } remover;
  if (path.empty()) {
    path = std::filesystem::temp_directory_path().string() + "/cosdt_bench_" +
           std::to_string(getpid()) + ".hdf5";
    remover.path = path;
    std::fprintf(stderr, "writing a file of %zu transitions\n", kFileRows);
    WriteHopper(path);
  }
  std::vector<BenchRow> rows;
  const double memory = MemoryRatio(path, command.options.threads);
  rows.push_back({"load", "peak memory / kept", memory, "", "1.3 times", 1.3, 1.3 / memory});

  datasets::Episodes episodes = datasets::ReadEpisodes(path, {.threads = command.options.threads});
  const double megabytes = static_cast<double>(KeptBytes(episodes)) / 1e6;
  const auto load = [&] {
    return megabytes /
           Seconds([&] { datasets::ReadEpisodes(path, {.threads = command.options.threads}); });
  };
  const std::string name = "load, " + std::to_string(command.options.threads) + " threads";
  if (command.options.python.empty()) {
    const auto one = [&] {
      return megabytes / Seconds([&] { datasets::ReadEpisodes(path, {.threads = 1}); });
    };
    rows.push_back(CompareRates(name, "MB", "1 thread", load, one, command.options.repeats));
  } else {
    const PythonBaseline h5py(command.options.python, kBenchDataPy, "h5py");
    const auto theirs = [&] { return megabytes / std::stod(h5py.Ask("'" + path + "'")); };
    rows.push_back(CompareRates(name, "MB", h5py.library(), load, theirs, command.options.repeats));
  }
  for (const int context : {kContext, 1000}) {
    rows.push_back(WindowRow(episodes, context, command.options.repeats));
  }
  PrintRows(rows, command.options.json);
}

}  // namespace

void AddBenchData(CLI::App& bench) {
  auto command = std::make_shared<BenchDataCommand>();
  CLI::App* app = bench.add_subcommand("data", "measure loading a dataset and sampling windows");
  app->add_option("--dataset", command->dataset,
                  "HDF5 file (default: a made-up one of hopper-medium-v2's size)");
  AddBenchOptions(*app, command->options, "threads that decompress",
                  "Python interpreter with h5py to compare with");
  app->callback([command] { Run(*command); });
}

}  // namespace cosdt::experiments
