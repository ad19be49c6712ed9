// cosdt bench attention: time and memory of every attention kind over the length.
#include <malloc.h>
#include <torch/torch.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <memory>
#include <optional>
#include <sstream>
#include <stdexcept>

#include "attention/cases.h"
#include "attention/linear_kernels.h"
#include "attention/registry.h"
#include "datasets/atomic_file.h"
#include "experiments/bench/attention_comparisons.h"
#include "experiments/bench/attention_runner.h"
#include "experiments/bench/bench.h"
#include "experiments/bench/bench_shapes.h"
#include "experiments/program/device.h"
#include "experiments/report/gnuplot.h"

namespace cosdt::experiments {
namespace {

namespace kernels = attention::kernels;
using attention::Attention;
using attention::Case;

struct BenchAttentionCommand {
  std::vector<std::string> kinds;
  std::vector<int64_t> lengths = {60, 512, 1024, 2048, 4096};
  int64_t width = 64;
  int threads = 1;
  int repeats = 5;
  bool compare = true;
  std::string plot;
  std::string device = "cpu";
  std::vector<std::string> shapes;
  bool json = false;
};

// The fused kernels' problem for a case, or nothing if its kind does not use them.
std::optional<kernels::Problem> KernelProblem(const Case& c) {
  const std::string& kind = c.options.kind;
  if (kind != "cosformer" && kind != "linear" && kind != "performer" && kind != "flow") return {};
  kernels::Problem p;
  p.batch = c.batch;
  p.heads = c.heads;
  p.length = c.length;
  p.width = c.width;
  p.value_width = c.value_width;
  if (kind == "cosformer") p.reweight_length = c.options.reweight_length;
  if (kind == "performer") {
    p.width = Attention(c.options, c.width)->named_buffers()["projection"].size(0);
  }
  p.normalize = kind != "flow";
  return p;
}

// Floating-point operations of the matrix products that a kind needs, with the causal limit counted
// exactly.
double Flops(const Case& c, bool backward) {
  const auto length = static_cast<double>(c.length), width = static_cast<double>(c.width);
  const double sequences = static_cast<double>(c.batch * c.heads);
  if (const auto problem = KernelProblem(c)) {
    double flops = CountFlops(kernels::Plan(*problem, kernels::Pass::kForward));
    if (backward) flops += CountFlops(kernels::Plan(*problem, kernels::Pass::kBackward));
    if (c.options.kind == "performer") {
      // both projections, and the gradients of their inputs
      flops +=
          sequences * (backward ? 8 : 4) * length * width * static_cast<double>(problem->width);
    }
    return flops;
  }
  double pairs = 0;  // of a query and a key that it sees
  if (c.options.kind == "softmax") pairs = length * (length + 1) / 2;
  if (c.options.kind == "local") {
    const auto window = static_cast<double>(std::min(c.options.window, c.length));
    pairs = window * (window + 1) / 2 + (length - window) * window;
  }
  return sequences * pairs * 2 * (width + static_cast<double>(c.value_width)) *
         (backward ? 3.5 : 1.0);
}

// Results for a kind at a length.
struct Measurement {
  std::string kind;
  int64_t length = 0;
  double seconds[2] = {};  // per token and head: forward, forward + backward
  double flops[2] = {};    // per second
  double megabytes[2] = {};
};

Measurement Measure(const Case& c, int repeats) {
  AttentionRunner runner(c);
  Measurement m{.kind = c.options.kind, .length = c.length};
  const double tokens = static_cast<double>(c.batch * c.heads * c.length);
  for (const bool backward : {false, true}) {
    runner.Rate(backward);
    double best = 0;
    for (int i = 0; i < repeats; ++i) best = std::max(best, runner.Rate(backward));
    m.seconds[backward] = 1 / best;
    m.flops[backward] = Flops(c, backward) / tokens * best;
    size_t scratch = 0;
    if (const auto problem = KernelProblem(c)) {
      scratch = kernels::Plan(*problem, kernels::Pass::kForward).scratch_size();
      if (backward) scratch += kernels::Plan(*problem, kernels::Pass::kBackward).scratch_size();
    }
    m.megabytes[backward] =
        (static_cast<double>(runner.ExtraMemory(backward)) + static_cast<double>(scratch)) / 1e6;
  }
  return m;
}

// From which measured length on a kind is faster than softmax, forward and backward together.
void PrintCrossovers(const std::vector<Measurement>& measurements) {
  std::map<int64_t, double> softmax;
  for (const Measurement& m : measurements) {
    if (m.kind == "softmax") softmax[m.length] = m.seconds[1];
  }
  if (softmax.empty()) return;
  std::map<std::string, int64_t> first;  // 0: at none
  for (const Measurement& m : measurements) {
    if (m.kind == "softmax" || m.kind == "identity") continue;
    int64_t& length = first.try_emplace(m.kind, 0).first->second;
    if (m.seconds[1] >= softmax[m.length]) {
      length = 0;
    } else if (length == 0) {
      length = m.length;
    }
  }
  for (const auto& [kind, length] : first) {
    std::printf("%s is faster than softmax %s\n", kind.c_str(),
                length ? ("from L = " + std::to_string(length) + " on").c_str()
                       : "at none of the last lengths");
  }
}

void PrintTable(const std::vector<Measurement>& measurements, double peak) {
  std::printf("%-10s %7s  %26s  %35s  %23s\n", "", "", "us per token and head", "GFLOP/s (of peak)",
              "MB besides in and out");
  std::printf("%-10s %7s  %10s %15s  %15s %19s  %10s %12s\n", "kind", "L", "forward", "+ backward",
              "forward", "+ backward", "forward", "+ backward");
  for (const Measurement& m : measurements) {
    std::printf("%-10s %7ld  %10.3f %15.3f  %8.1f (%3.0f %%) %12.1f (%3.0f %%)  %10.3f %12.3f\n",
                m.kind.c_str(), static_cast<long>(m.length), m.seconds[0] * 1e6, m.seconds[1] * 1e6,
                m.flops[0] / 1e9, 100 * m.flops[0] / peak, m.flops[1] / 1e9,
                100 * m.flops[1] / peak, m.megabytes[0], m.megabytes[1]);
  }
}

void AppendRows(const std::vector<Measurement>& measurements, double peak,
                std::vector<BenchRow>& rows) {
  for (const Measurement& m : measurements) {
    const std::string name = m.kind + ", L " + std::to_string(m.length);
    for (const int i : {0, 1}) {
      const std::string pass = i == 0 ? " forward" : " forward+backward";
      rows.push_back({name, "time per token and head" + pass, m.seconds[i], "s", "", 0, 0});
      rows.push_back(
          {name, "arithmetic" + pass, m.flops[i], "FLOP/s", "peak", peak, m.flops[i] / peak});
      rows.push_back({name, "extra memory" + pass, m.megabytes[i] * 1e6, "B", "", 0, 0});
    }
  }
}

// Time and memory of forward and backward over the length, as an SVG drawn by gnuplot.
void Plot(const std::vector<Measurement>& measurements, const std::string& path) {
  std::ostringstream script;
  script << "set terminal svg size 1000,450 background 'white'\n"
            "set multiplot layout 1,2\nset logscale xy\nset grid\nset key left top\n"
            "set xlabel 'length in tokens'\n";
  std::vector<std::string> kinds;
  for (const Measurement& m : measurements) {
    if (kinds.empty() || kinds.back() != m.kind) kinds.push_back(m.kind);
  }
  for (const bool memory : {false, true}) {
    script << "set ylabel '"
           << (memory ? "MB besides inputs and outputs, one head"
                      : "ms forward and backward, one head")
           << "'\nplot ";
    for (const std::string& kind : kinds) {
      script << (kind == kinds[0] ? "" : ", ") << "'-' with linespoints title "
             << GnuplotString(kind);
    }
    script << "\n";
    for (const std::string& kind : kinds) {
      for (const Measurement& m : measurements) {
        if (m.kind != kind) continue;
        script << m.length << " "
               << (memory ? m.megabytes[1] : m.seconds[1] * 1e3 * static_cast<double>(m.length))
               << "\n";
      }
      script << "e\n";
    }
  }
  datasets::WriteFile(path, RunGnuplot(script.str()));
}

// On a GPU or if shapes are given: forms and passes at those shapes instead of over the length.
bool RunShapes(const BenchAttentionCommand& command, const CLI::App& app) {
  const c10::Device device = ResolveDevice(command.device);
  if (device.is_cpu() && command.shapes.empty()) return false;
  for (const char* other : {"--attention", "--lengths", "--width", "--compare", "--plot"}) {
    if (app.count(other) > 0) {
      throw CLI::ExcludesError(device.is_cpu() ? "--shapes" : "--device " + command.device, other);
    }
  }
  std::vector<AttentionShape> shapes;
  for (const std::string& text : command.shapes) shapes.push_back(ParseShape(text));
  torch::set_num_threads(command.threads);
  BenchShapes(shapes.empty() ? GpuShapes() : shapes, device, command.repeats, command.json);
  return true;
}

void Run(const BenchAttentionCommand& command, const CLI::App& app) {
  if (RunShapes(command, app)) return;
  torch::set_num_threads(command.threads);
  // memory that is freed is kept, for both sides alike: touching fresh pages would take longer than
  // what is measured, and a training loop reuses its own
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
  const double peak = kernels::MeasurePeakFlops() * command.threads;
  std::vector<Measurement> measurements;
  for (const std::string& kind : command.kinds) {
    for (const Case& c : attention::MeasuredCases(kind, command.lengths, command.width)) {
      measurements.push_back(Measure(c, command.repeats));
    }
  }
  std::vector<BenchRow> comparisons;
  if (command.compare) comparisons = CompareAttentionKernels(command.repeats);
  if (!command.plot.empty()) Plot(measurements, command.plot);
  if (command.json) {
    std::vector<BenchRow> rows;
    AppendRows(measurements, peak, rows);
    rows.insert(rows.end(), comparisons.begin(), comparisons.end());
    PrintRows(rows, true);
    return;
  }
  std::printf("%s, d %ld, one head, %d threads, peak %.0f GFLOP/s\n", kernels::InstructionSet(),
              static_cast<long>(command.width), command.threads, peak / 1e9);
  PrintTable(measurements, peak);
  PrintCrossovers(measurements);
  PrintRows(comparisons, false);
}

}  // namespace

void AddBenchAttention(CLI::App& bench) {
  auto command = std::make_shared<BenchAttentionCommand>();
  std::vector<std::string> kinds;
  for (const attention::AttentionKind& kind : attention::AttentionKinds()) {
    kinds.push_back(kind.name);
  }
  command->kinds = kinds;
  CLI::App* app =
      bench.add_subcommand("attention", "measure time and memory of the attention kinds");
  app->add_option("--attention", command->kinds, "attention kinds")->check(CLI::IsMember(kinds));
  app->add_option("--lengths", command->lengths, "lengths in tokens")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app->add_option("--width", command->width, "width of a head")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app->add_option("--threads", command->threads, "threads of LibTorch")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app->add_option("--repeats", command->repeats,
                  "measurements, of which the best or median is reported")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app->add_flag("--compare,!--no-compare", command->compare,
                "compare the kernels with peak, other forms and softmax (default: on)");
  app->add_option("--plot", command->plot, "SVG file for a plot of time and memory over length");
  AddDeviceOption(*app, command->device,
                  "device; a GPU is measured at --shapes, not over the length");
  app->add_option(
         "--shapes", command->shapes,
         "batch x heads x length x width (8x8x1024x64), with commas: cosformer and softmax "
         "there, in fp32 and bf16")
      ->delimiter(',')
      ->allow_extra_args(false);
  app->add_flag("--json", command->json, "print one JSON object");
  app->callback([command, app] { Run(*command, *app); });
}

}  // namespace cosdt::experiments
