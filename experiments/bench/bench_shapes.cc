#include "experiments/bench/bench_shapes.h"

#include <ATen/DeviceAccelerator.h>
#include <torch/torch.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <functional>
#include <memory>
#include <stdexcept>

#include "attention/linear_op.h"
#include "experiments/bench/bench.h"
#include "experiments/program/device.h"
#include "experiments/program/timed_launches.h"
#include "experiments/scores/statistics.h"

namespace cosdt::experiments {
namespace {

using torch::Tensor;

constexpr double kBeyondCaches = 150e6;     // bytes of all sets together; an H100's L2 is 50 MB
constexpr int64_t kLongestSoftmax = 32768;  // its time grows with the square

enum class Pass { kForward, kBackward, kBoth };
constexpr const char* kPassNames[] = {"forward", "backward", "forward+backward"};

struct TimedCase {
  AttentionShape shape;
  torch::ScalarType type;

  std::string Name() const {
    return std::string(type == torch::kBFloat16 ? "bf16" : "fp32") + ", B " +
           std::to_string(shape.batch) + ", H " + std::to_string(shape.heads) + ", L " +
           std::to_string(shape.length) + ", d " + std::to_string(shape.width);
  }
  double tokens() const {  // of all heads
    return static_cast<double>(shape.batch * shape.heads * shape.length);
  }
  double array_bytes() const {
    return tokens() * static_cast<double>(shape.width) * (type == torch::kBFloat16 ? 2 : 4);
  }
};

// Bytes of each input and output once, the normalizer included.
double Bytes(const TimedCase& c, Pass pass) {
  const double forward = 4 * c.array_bytes() + 4 * c.tokens(),
               backward = 8 * c.array_bytes() + 4 * c.tokens();
  return pass == Pass::kForward ? forward : pass == Pass::kBackward ? backward : forward + backward;
}

// The matrix products in chunks of 64 tokens; the first chunk has none with a state.
double LinearFlops(const TimedCase& c, Pass pass) {
  const auto length = static_cast<double>(c.shape.length), d = static_cast<double>(c.shape.width);
  const double chunk = std::min(64.0, length), behind = (length - chunk) / length;
  const double forward = 4 * chunk * d + 8 * d * d * behind,
               backward = 12 * chunk * d + 20 * d * d * behind;
  return c.tokens() * (pass == Pass::kForward    ? forward
                       : pass == Pass::kBackward ? backward
                                                 : forward + backward);
}

// Counts only the pairs that the causal limit leaves.
double SoftmaxFlops(const TimedCase& c, Pass pass) {
  const double pairs = c.tokens() * static_cast<double>(c.shape.length + 1) / 2;
  return pairs * 4 * static_cast<double>(c.shape.width) *
         (pass == Pass::kForward    ? 1
          : pass == Pass::kBackward ? 2.5
                                    : 3.5);
}

// One set of inputs and results. Launches take turns with several.
struct Set {
  Set(const TimedCase& c, const c10::Device& device) {
    const AttentionShape& s = c.shape;
    const auto options = torch::TensorOptions(c.type).device(device);
    for (Tensor* x : {&q, &k, &v, &grad_out}) {
      *x = torch::randn({s.batch, s.heads, s.length, s.width}, options);
    }
    for (Tensor* x : {&out, &grad_q, &grad_k, &grad_v}) *x = torch::empty_like(q);
    normalizer = torch::empty({s.batch, s.heads, s.length}, options.dtype(torch::kFloat32));
  }
  Tensor q, k, v, grad_out, out, normalizer, grad_q, grad_k, grad_v;
};

// Runs a pass of the measured attention on the set of this index.
using Work = std::function<void(Pass, size_t)>;

attention::LinearForm CosformerForm(const TimedCase& c) {
  return {.features = attention::FeatureMap::kEluPlusOne, .reweight_length = 2 * c.shape.length};
}

attention::Inputs InputsOf(const Set& s) { return {s.q, s.k, s.v, {}, s.q.sizes().vec()}; }

// The operator's own entry points, into existing arrays.
Work KernelWork(const TimedCase& c, std::vector<Set>& sets) {
  const attention::LinearForm form = CosformerForm(c);
  for (Set& s : sets) attention::CausalLinearForward(InputsOf(s), form, s.out, s.normalizer);
  return [&sets, form](Pass pass, size_t i) {
    Set& s = sets[i];
    const attention::Inputs inputs = InputsOf(s);
    if (pass != Pass::kBackward) {
      attention::CausalLinearForward(inputs, form, s.out, s.normalizer);
    }
    if (pass != Pass::kForward) {
      attention::CausalLinearBackward(s.grad_out, inputs, form, s.out, s.normalizer, s.grad_q,
                                      s.grad_k, s.grad_v);
    }
  };
}

// Any function of q, k and v, with autograd's backward pass.
Work AutogradWork(std::vector<Set>& sets, std::function<Tensor(const Set&)> attend) {
  struct State {
    std::vector<Set> leaves;  // the sets' values, with gradients
    std::vector<Tensor> outs;
    std::vector<torch::autograd::variable_list> results;  // kept apart, as the kernels' are
  };
  auto state = std::make_shared<State>();
  state->leaves = sets;
  for (Set& s : state->leaves) {
    for (Tensor* x : {&s.q, &s.k, &s.v}) *x = x->detach().requires_grad_();
  }
  state->outs.resize(sets.size());
  state->results.resize(sets.size());
  return [state, attend = std::move(attend)](Pass pass, size_t i) {
    const Set& s = state->leaves[i];
    if (pass == Pass::kForward) {
      const torch::NoGradGuard no_grad;
      state->results[i] = {attend(s)};
      return;
    }
    // a backward pass alone finds what its forward pass left in the first launches, which warm up
    if (pass == Pass::kBoth || !state->outs[i].defined()) state->outs[i] = attend(s);
    state->results[i] = torch::autograd::grad({state->outs[i]}, {s.q, s.k, s.v}, {s.grad_out},
                                              pass == Pass::kBackward);
  };
}

Tensor Softmax(const Set& s) {
  return at::scaled_dot_product_attention(s.q, s.k, s.v, {}, 0.0, true);
}

// The kernel that LibTorch chooses for these inputs.
std::string SoftmaxName(Set s) {
  for (Tensor* x : {&s.q, &s.k, &s.v}) *x = x->detach().requires_grad_();
  constexpr const char* kNames[] = {"math", "flash", "efficient", "cudnn"};
  const int64_t choice = at::_fused_sdp_choice(s.q, s.k, s.v, {}, 0.0, true);
  return std::string("scaled_dot_product_attention, ") +
         (choice >= 0 && choice < 4 ? kNames[choice] : "other");
}

struct Timed {
  double seconds = 0, against_seconds = 0;  // 0: not measured
};

// Medians of both, measured in turn.
Timed Measure(const Work& ours, const Work& theirs, Pass pass, size_t sets,
              const c10::Device& device, int repeats) {
  const int launches = device.is_cpu() ? 3 : std::max(20, static_cast<int>(sets));
  const auto make = [&](const Work& work) {
    return work ? MakeTimedLaunches(
                      device, launches,
                      [&work, pass, sets](int i) { work(pass, static_cast<size_t>(i) % sets); })
                : nullptr;
  };
  const auto first = make(ours), second = make(theirs);
  std::vector<double> a, b;
  for (int i = 0; i < repeats; ++i) {
    a.push_back(first->Seconds());
    if (second) b.push_back(second->Seconds());
  }
  return {Median(a), second ? Median(b) : 0};
}

double MedianSeconds(TimedLaunches& launches, int repeats) {
  std::vector<double> seconds;
  for (int i = 0; i < repeats; ++i) seconds.push_back(launches.Seconds());
  return Median(seconds);
}

// Bytes per second of a copy on the device, read and written.
double MeasureCopy(const c10::Device& device, int repeats) {
  const int64_t bytes = device.is_cpu() ? int64_t{1} << 26 : int64_t{1} << 30;
  const Tensor from = torch::ones({bytes}, torch::TensorOptions(torch::kUInt8).device(device));
  Tensor to = torch::empty_like(from);
  const auto launches = MakeTimedLaunches(device, 4, [&](int) { to.copy_(from); });
  return 2 * static_cast<double>(bytes) / MedianSeconds(*launches, repeats);
}

// Operations per second of a large product; on a GPU float32 is measured as TF32, of which our
// kernels need three products for one in float32.
double MeasureProduct(torch::ScalarType type, const c10::Device& device, int repeats) {
  const int64_t n = device.is_cpu() ? 512 : 8192;
  const Tensor a = torch::randn({n, n}, torch::TensorOptions(type).device(device));
  Tensor out = torch::empty_like(a);
  at::Context& context = at::globalContext();
  const bool before = context.allowTF32CuBLAS();
  context.setAllowTF32CuBLAS(true);
  const auto launches = MakeTimedLaunches(device, 4, [&](int) { at::mm_out(out, a, a); });
  const double seconds = MedianSeconds(*launches, repeats);
  context.setAllowTF32CuBLAS(before);
  return 2 * static_cast<double>(n * n * n) / seconds;
}

struct Roofs {
  double copy = 0, product = 0;
};

class Report {
 public:
  explicit Report(bool json) : json_(json) {}

  void Add(const TimedCase& c, Pass pass, const std::string& name, const Roofs& roofs,
           const std::string& against, const Timed& t) {
    const std::string metric = kPassNames[static_cast<int>(pass)];
    const double bytes = Bytes(c, pass) / t.seconds, flops = LinearFlops(c, pass) / t.seconds;
    const bool both = t.against_seconds > 0;
    rows_.push_back({name, metric, 1e3 * t.seconds, "ms", both ? against : "",
                     1e3 * t.against_seconds, both ? t.against_seconds / t.seconds : 0});
    rows_.push_back({name, metric + " bytes", bytes / 1e9, "GB/s", "copy on the device",
                     roofs.copy / 1e9, bytes / roofs.copy});
    rows_.push_back({name, metric + " arithmetic", flops / 1e12, "TFLOP/s", "matrix product",
                     roofs.product / 1e12, flops / roofs.product});
    if (both) {
      const double theirs = SoftmaxFlops(c, pass) / t.against_seconds;
      rows_.push_back({against + " " + c.Name(), metric + " arithmetic", theirs / 1e12, "TFLOP/s",
                       "matrix product", roofs.product / 1e12, theirs / roofs.product});
    }
    if (json_) return;
    std::printf("%-44s %-16s %9.4f ms  %7.1f GB/s (%3.0f %%)  %6.1f TFLOP/s (%3.0f %%)",
                name.c_str(), metric.c_str(), 1e3 * t.seconds, bytes / 1e9,
                100 * bytes / roofs.copy, flops / 1e12, 100 * flops / roofs.product);
    if (both) {
      const size_t comma = against.find(", ");
      std::printf("  %s %.4f ms, ratio %.2f", against.substr(comma + 2).c_str(),
                  1e3 * t.against_seconds, t.against_seconds / t.seconds);
    }
    std::printf("\n");
    std::fflush(stdout);
  }

  // A case that does not fit the GPU does not stop the others.
  void AddFailure(const std::string& name, const c10::Error& error) {
    ++failures_;
    std::fprintf(stderr, "cosdt: %s: %s\n", name.c_str(),
                 OneLine(error.what_without_backtrace()).c_str());
  }

  void Finish(const c10::Device& device) const {
    if (json_) {
      nlohmann::json about = UseOf(device);
      about["attention_path"] = attention::CausalLinearPath(device);
      PrintRows(rows_, true, about);
    }
    if (failures_ > 0) {
      throw std::runtime_error(std::to_string(failures_) + " of the measurements failed");
    }
  }

 private:
  bool json_;
  int failures_ = 0;
  std::vector<BenchRow> rows_;
};

void BenchCase(const TimedCase& c, const c10::Device& device, int repeats, const Roofs& roofs,
               Report& report) {
  std::vector<Set> sets;
  const double count = std::ceil(kBeyondCaches / (4 * c.array_bytes()));
  const int most = device.is_cpu() ? 3 : 1000;
  for (int i = 0; i < std::clamp(static_cast<int>(count), 1, most); ++i)
    sets.emplace_back(c, device);
  const bool kernels = attention::HasCausalLinearKernel(sets[0].q, c.shape.width, CosformerForm(c));
  const Work ours = kernels ? KernelWork(c, sets) : AutogradWork(sets, [&](const Set& s) {
    return attention::CausalLinear(InputsOf(s), CosformerForm(c));
  });
  const bool with_softmax = c.shape.length <= kLongestSoftmax;
  const Work theirs = with_softmax ? AutogradWork(sets, Softmax) : Work();
  const std::string name = std::string("cosformer ") + (kernels ? "" : "composed ") + c.Name(),
                    against = with_softmax ? SoftmaxName(sets[0]) : "";
  for (const Pass pass : {Pass::kForward, Pass::kBackward, Pass::kBoth}) {
    try {
      report.Add(c, pass, name, roofs, against,
                 Measure(ours, theirs, pass, sets.size(), device, repeats));
    } catch (const c10::Error& e) {
      report.AddFailure(name + ", " + kPassNames[static_cast<int>(pass)], e);
    }
  }
}

}  // namespace

const std::vector<AttentionShape>& GpuShapes() {
  static const std::vector<AttentionShape> shapes = {
      {64, 1, 60, 128},   {8, 8, 1024, 64},  {8, 8, 4096, 64}, {4, 8, 4096, 128},
      {64, 1, 3000, 128}, {1, 8, 16384, 64}, {1, 8, 65536, 64}};
  return shapes;
}

AttentionShape ParseShape(const std::string& text) {
  AttentionShape shape;
  const char *at = text.data(), *const end = at + text.size();
  int read = 0;
  for (int64_t* number : {&shape.batch, &shape.heads, &shape.length, &shape.width}) {
    const auto [rest, error] = std::from_chars(at, end, *number);
    if (error != std::errc() || *number < 1 ||
        (++read < 4 ? rest == end || *rest != 'x' : rest != end)) {
      throw std::invalid_argument("shapes: expected BATCHxHEADSxLENGTHxWIDTH, found " + text);
    }
    at = rest + 1;
  }
  return shape;
}

void BenchShapes(const std::vector<AttentionShape>& shapes, const c10::Device& device, int repeats,
                 bool json) {
  torch::manual_seed(0);
  Report report(json);
  Roofs roofs;
  roofs.copy = MeasureCopy(device, repeats);
  for (const torch::ScalarType type : {torch::kBFloat16, torch::kFloat32}) {
    roofs.product = MeasureProduct(type, device, repeats);
    if (!json) {
      std::printf("%s: copy %.0f GB/s, product in %s %.1f TFLOP/s\n", UseOf(device).device.c_str(),
                  roofs.copy / 1e9,
                  type == torch::kBFloat16 ? "bf16" : (device.is_cpu() ? "fp32" : "tf32"),
                  roofs.product / 1e12);
    }
    for (const AttentionShape& shape : shapes) {
      const TimedCase c{shape, type};
      try {
        BenchCase(c, device, repeats, roofs, report);
      } catch (const c10::Error& e) {  // its inputs alone do not fit
        report.AddFailure(c.Name(), e);
      }
      if (!device.is_cpu()) at::accelerator::emptyCache();
    }
  }
  report.Finish(device);
}

}  // namespace cosdt::experiments
