// cosdt bench attention: time and memory of every attention kind over the length, and the fused
// kernels against what else could be used.
#include <c10/core/Allocator.h>
#include <c10/util/ThreadLocalDebugInfo.h>
#include <malloc.h>
#include <torch/torch.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <map>
#include <memory>
#include <numbers>
#include <optional>
#include <sstream>
#include <stdexcept>

#include "agents/storage/text_file.h"
#include "attention/cases.h"
#include "attention/linear_kernels.h"
#include "attention/registry.h"
#include "experiments/bench/bench.h"
#include "experiments/bench/bench_shapes.h"
#include "experiments/bench/token_recurrence.h"
#include "experiments/program/device.h"
#include "experiments/report/gnuplot.h"

namespace cosdt::experiments {
namespace {

namespace kernels = attention::kernels;
using attention::Attention;
using attention::Case;
using torch::Tensor;

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

// Follows what LibTorch's CPU allocator hands out to this thread.
class MemoryMeter : public c10::MemoryReportingInfoBase {
 public:
  void reportMemoryUsage(void*, int64_t bytes, size_t, size_t, c10::Device) override {
    current_ += bytes;
    peak_ = std::max(peak_, current_);
  }
  bool memoryProfilingEnabled() const override { return true; }
  int64_t peak() const { return peak_; }

 private:
  int64_t current_ = 0, peak_ = 0;
};

// What the fused kernels are asked by a case, or nothing where its kind does not use them.
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

// Units a second of the fastest run in `seconds`: what a busy machine takes away between two runs,
// or in the middle of one, is not the code's.
double BestRate(double seconds, double units, const std::function<void()>& work) {
  using Clock = std::chrono::steady_clock;
  const Clock::time_point start = Clock::now();
  Clock::time_point end = start;
  std::chrono::duration<double> best = std::chrono::hours(1);
  do {
    const Clock::time_point begin = end;
    work();
    end = Clock::now();
    best = std::min<std::chrono::duration<double>>(best, end - begin);
  } while (end - start < std::chrono::duration<double>(seconds));
  return units / best.count();
}

// One case with inputs, run forward or forward and backward.
class Runner {
 public:
  explicit Runner(const Case& c) : case_(c), attention_(c.options, c.width) {
    torch::manual_seed(0);
    const auto normal = [&](int64_t width) {
      return torch::randn({c.batch, c.heads, c.length, width});
    };
    q_ = normal(c.width).requires_grad_();
    k_ = normal(c.width).requires_grad_();
    v_ = normal(c.value_width).requires_grad_();
    grad_ = normal(c.value_width);
  }

  void Forward() {
    const torch::NoGradGuard no_grad;
    attention_->forward(q_, k_, v_);
  }
  void ForwardBackward() {
    torch::autograd::grad({attention_->forward(q_, k_, v_)}, {q_, k_, v_}, {grad_}, std::nullopt,
                          false, true);
  }
  // Tokens x heads a second.
  double Rate(bool backward) {
    return BestRate(0.15, static_cast<double>(case_.batch * case_.heads * case_.length),
                    [&] { backward ? ForwardBackward() : Forward(); });
  }
  // Bytes beyond inputs and what is returned, at their peak.
  int64_t ExtraMemory(bool backward) {
    auto meter = std::make_shared<MemoryMeter>();
    {
      const c10::DebugInfoGuard guard(c10::DebugInfoKind::PROFILER_STATE, meter);
      backward ? ForwardBackward() : Forward();
    }
    const Case& c = case_;
    int64_t returned = c.value_width;
    if (backward) returned += 2 * c.width + c.value_width;
    // identity returns one gradient thrice, which is less than what is subtracted
    return std::max<int64_t>(0, meter->peak() - 4 * c.batch * c.heads * c.length * returned);
  }
  const Tensor& q() const { return q_; }
  const Tensor& k() const { return k_; }
  const Tensor& v() const { return v_; }

 private:
  Case case_;
  Attention attention_;
  Tensor q_, k_, v_, grad_;
};

// What is reported of a kind at a length.
struct Measurement {
  std::string kind;
  int64_t length = 0;
  double seconds[2] = {};  // a token and head, forward and forward + backward
  double flops[2] = {};    // a second
  double megabytes[2] = {};
};

Measurement Measure(const Case& c, int repeats) {
  Runner runner(c);
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

// The paper's causal form in LibTorch's operations: features of both phases, and the running sums
// of phi(k) v^T for all tokens at once.
Tensor CumulativeSums(const Tensor& q, const Tensor& k, const Tensor& v, int64_t reweight_length) {
  const Tensor angle = torch::arange(q.size(2), torch::kFloat32).unsqueeze(-1) *
                       (std::numbers::pi / 2 / static_cast<double>(reweight_length));
  const auto features = [&](const Tensor& x) {
    const Tensor positive = torch::relu(x);
    return torch::cat({positive * angle.cos(), positive * angle.sin()}, -1);
  };
  const Tensor query = features(q), key = features(k);
  const Tensor sums = (key.unsqueeze(-1) * v.unsqueeze(-2)).cumsum(2);
  const Tensor normalizer = (query * key.cumsum(2)).sum(-1, true).clamp_min(1e-6);
  return torch::matmul(query.unsqueeze(-2), sums).squeeze(-2) / normalizer;
}

Case MakeCase(const std::string& kind, int64_t batch, int64_t heads, int64_t length,
              int64_t width) {
  return {attention::CaseOptions(kind, length), batch, heads, length, width, width};
}

std::string Shape(const Case& c) { return c.Name().substr(c.options.kind.size() + 2); }

void AgainstSoftmax(const BenchAttentionCommand& command, std::vector<BenchRow>& rows) {
  for (const auto& [batch, heads, length, width] : {std::array<int64_t, 4>{64, 1, 60, 128},
                                                    {64, 4, 60, 64},
                                                    {1, 8, 1024, 64},
                                                    {1, 2, 4096, 64},
                                                    {1, 8, 1024, 128},
                                                    {1, 2, 4096, 128}}) {
    const Case c = MakeCase("cosformer", batch, heads, length, width);
    Runner ours(c), theirs(MakeCase("softmax", batch, heads, length, width));
    rows.push_back(CompareRates(
        Shape(c), "tokens forward+backward", "softmax of LibTorch", [&] { return ours.Rate(true); },
        [&] { return theirs.Rate(true); }, command.repeats));
  }
}

// The kernels alone, on one thread and buffers of their own.
class KernelRunner {
 public:
  KernelRunner(int64_t heads, int64_t length, int64_t width) : length_(length), heads_(heads) {
    torch::manual_seed(0);
    for (Tensor& x : data_) x = torch::randn({1, heads, length, width});
    normalizer_ = torch::empty({heads, length});
    problem_.heads = heads;
    problem_.length = length;
    problem_.width = problem_.value_width = width;
    problem_.reweight_length = 2 * length;
    size_t next = 0;
    for (kernels::Array* array :
         {&problem_.q, &problem_.k, &problem_.v, &problem_.out, &problem_.grad_out,
          &problem_.grad_q, &problem_.grad_k, &problem_.grad_v}) {
      const Tensor& x = data_[next++];
      *array = {x.data_ptr(), x.stride(0), x.stride(1), x.stride(2)};
    }
    problem_.normalizer = normalizer_.data_ptr();
  }

  // Tokens x heads a second through both passes in chunks of `chunk`, or as the dispatch has it.
  double Rate(int64_t chunk) {
    return BestRate(0.1, static_cast<double>(heads_ * length_), [&] {
      Run(kernels::Pass::kForward, chunk);
      Run(kernels::Pass::kBackward, chunk);
    });
  }
  double ForwardRate() {
    return BestRate(0.1, static_cast<double>(heads_ * length_),
                    [&] { Run(kernels::Pass::kForward, 0); });
  }
  double FlopRate(kernels::Pass pass) {
    return BestRate(0.1, CountFlops(kernels::Plan(problem_, pass)), [&] { Run(pass, 0); });
  }

 private:
  void Run(kernels::Pass pass, int64_t chunk) {
    kernels::Plan(problem_, pass, chunk).RunHeads(0, heads_);
  }

  int64_t length_, heads_;
  std::array<Tensor, 8> data_;
  Tensor normalizer_;
  kernels::Problem problem_;
};

void AgainstOtherForms(const BenchAttentionCommand& command, std::vector<BenchRow>& rows) {
  const torch::NoGradGuard no_grad;
  for (const int64_t width : {64, 128}) {
    const Case c = MakeCase("cosformer", 1, 1, 1024, width);
    const int64_t reweight_length = c.options.reweight_length;
    Runner ours(c);
    KernelRunner kernel(1, c.length, width);  // like the recurrence, with buffers of its own
    Tensor out = torch::empty_like(ours.v());
    rows.push_back(CompareRates(
        Shape(c), "tokens forward", "token by token", [&] { return kernel.ForwardRate(); },
        [&] {
          return BestRate(0.15, static_cast<double>(c.length), [&] {
            TokenRecurrence(ours.q().data_ptr<float>(), ours.k().data_ptr<float>(),
                            ours.v().data_ptr<float>(), c.length, width, width, reweight_length,
                            out.data_ptr<float>());
          });
        },
        command.repeats));
    rows.push_back(CompareRates(
        Shape(c), "tokens forward", "cumulative sums in LibTorch", [&] { return ours.Rate(false); },
        [&] {
          return BestRate(0.15, static_cast<double>(c.length),
                          [&] { CumulativeSums(ours.q(), ours.k(), ours.v(), reweight_length); });
        },
        command.repeats));
  }
}

void AgainstPeak(const BenchAttentionCommand& command, std::vector<BenchRow>& rows) {
  for (const int64_t width : {64, 128}) {
    for (const int64_t length : {512, 1024, 4096}) {
      for (const auto pass : {kernels::Pass::kForward, kernels::Pass::kBackward}) {
        KernelRunner runner(1, length, width);
        const std::string metric =
            pass == kernels::Pass::kForward ? "MFLOP forward" : "MFLOP backward";
        rows.push_back(CompareRates(
            "L " + std::to_string(length) + ", d " + std::to_string(width), metric,
            "multiply-adds on registers", [&] { return runner.FlopRate(pass) / 1e6; },
            [] { return kernels::MeasurePeakFlops() / 1e6; }, command.repeats));
      }
    }
  }
}

void AgainstQuadratic(const BenchAttentionCommand& command, std::vector<BenchRow>& rows) {
  for (const int64_t width : {16, 64, 128}) {
    for (const int64_t length : {60, 128, 256, 384, 512, 768, 1024}) {
      KernelRunner runner(2, length, width);
      rows.push_back(CompareRates(
          "L " + std::to_string(length) + ", d " + std::to_string(width), "tokens forward+backward",
          "its own quadratic form", [&] { return runner.Rate(0); },
          [&] { return runner.Rate(length); }, command.repeats));
    }
  }
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
  std::printf("%-10s %7s  %26s  %35s  %23s\n", "", "", "us a token and head", "GFLOP/s (of peak)",
              "MB beyond in and out");
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
      rows.push_back({name, "time a token and head" + pass, m.seconds[i], "s", "", 0, 0});
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
           << (memory ? "MB beyond inputs and outputs, one head"
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
  agents::WriteTextFile(path, RunGnuplot(script.str()));
}

// On a GPU, and where shapes are given: forms and passes at those, with nothing over the length.
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
  if (command.compare) {
    AgainstPeak(command, comparisons);
    AgainstOtherForms(command, comparisons);
    AgainstQuadratic(command, comparisons);
    AgainstSoftmax(command, comparisons);
  }
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
  CLI::App* app = bench.add_subcommand("attention", "time and memory of the attention kinds");
  app->add_option("--attention", command->kinds, "kinds")->check(CLI::IsMember(kinds));
  app->add_option("--lengths", command->lengths, "in tokens")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app->add_option("--width", command->width, "of a head")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app->add_option("--threads", command->threads, "of LibTorch")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app->add_option("--repeats", command->repeats, "turns of which the best or median is reported")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app->add_flag("--compare,!--no-compare", command->compare,
                "the kernels against peak, other forms and softmax (on by default)");
  app->add_option("--plot", command->plot, "draw time and memory over length into this SVG file");
  AddDeviceOption(*app, command->device,
                  "that computes; a GPU is measured at --shapes, not over the length");
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
