#include "attention/self_check.h"

#include <sstream>

#include "attention/linear_core.h"
#include "attention/linear_problem.h"

namespace cosdt::attention {
namespace {

using torch::Tensor;

struct CheckedCase {
  int64_t length, width;
  FeatureMap features = FeatureMap::kEluPlusOne;
  bool reweight = true, masked = false;
  int64_t batch = 2, heads = 2;
};

// Each width of the kernels with one chunk, with several and with segments; short ones first, so
// that a fault is soon found.
constexpr CheckedCase kCases[] = {
    {1, 16},
    {1, 32},
    {31, 32, FeatureMap::kRelu, false},
    {65, 32, FeatureMap::kEluPlusOne, true, true},
    {64, 64, FeatureMap::kRelu},
    {60, 128, FeatureMap::kEluPlusOne, true, true},
    {130, 64, FeatureMap::kEluPlusOne, false, true},
    {130, 128, FeatureMap::kRelu},
    {460, 24, FeatureMap::kRelu},
    {520, 64, FeatureMap::kEluPlusOne, true, true},
    {460, 128},
    // so many segments that their states are scanned, and so many heads that a block takes all
    // columns of one
    {2350, 32, FeatureMap::kEluPlusOne, true, false, 1, 1},
    {60, 128, FeatureMap::kEluPlusOne, true, true, 65, 2},
};

// How the kernels compute.
struct Arithmetic {
  torch::ScalarType type;
  bool one_product;
  double tolerance;
};
// float32's tolerance allows for sums in another order, the others' for values and weights that are
// rounded.
constexpr Arithmetic kArithmetics[] = {
    {torch::kFloat32, false, 2e-5}, {torch::kFloat32, true, 5e-3}, {torch::kBFloat16, false, 2e-2}};

class Example {
 public:
  Example(const CheckedCase& c, torch::ScalarType type, const torch::Device& device) {
    form.features = c.features;
    form.reweight_length = c.reweight ? 2 * c.length : 0;
    auto generator = at::make_generator<at::CPUGeneratorImpl>(3);
    const auto draw = [&] {
      return torch::randn({c.batch, c.heads, c.length, c.width}, generator).to(device, type);
    };
    x = {draw(), draw(), draw(), {}, {}};
    grad_out = draw();
    if (!c.masked) return;
    Tensor mask = torch::ones({c.batch, c.length}, torch::kBool);
    mask.narrow(1, 0, c.length / 3).zero_();
    x.key_mask = mask.to(device);
  }

  // Output, normaliser and the three gradients by LibTorch, in float64.
  std::vector<Tensor> Reference() const {
    const auto wide = [](const Tensor& from) { return from.to(torch::kFloat64).requires_grad_(); };
    const Tensor q = wide(x.q), k = wide(x.k), v = wide(x.v);
    const Tensor out = CausalLinearComposed({q, k, v, x.key_mask, {}}, form);
    std::vector<Tensor> results = torch::autograd::grad({out}, {q, k, v}, {grad_out.to(out)});
    LinearForm sums = form;
    sums.normalize = false;
    const Tensor ones = torch::ones_like(v.narrow(-1, 0, 1).detach());
    const Tensor normalizer =
        CausalLinearComposed({q.detach(), k.detach(), ones, x.key_mask, {}}, sums).squeeze(-1);
    results.insert(results.begin(), {out.detach(), normalizer});
    return results;
  }

  // The same by the kernels; nothing if there are none.
  std::vector<Tensor> Run(const SupportsProblem& supports, const RunKernels& run,
                          bool one_product) const {
    const auto empty = [](const Tensor& like) { return torch::full_like(like, NAN); };
    Tensor out = empty(x.v), grad_q = empty(x.q), grad_k = empty(x.k), grad_v = empty(x.v);
    Tensor normalizer = torch::full({x.q.size(0), x.q.size(1), x.q.size(2)}, NAN,
                                    x.q.options().dtype(torch::kFloat32));
    kernels::Problem problem = MakeProblem(x, form, out, normalizer);
    problem.one_product = one_product;
    if (!supports(problem)) return {};
    run(problem, kernels::Pass::kForward);
    AddGradients(problem, grad_out, grad_q, grad_k, grad_v);
    run(problem, kernels::Pass::kBackward);
    return {out, normalizer, grad_q, grad_k, grad_v};
  }

  LinearForm form;
  Inputs x;
  Tensor grad_out;
};

constexpr const char* kResults[] = {"output", "normaliser", "gradient of q", "gradient of k",
                                    "gradient of v"};

// The largest difference over the largest value, at least 1, of every result: one read back.
std::vector<double> Differences(const std::vector<Tensor>& found,
                                const std::vector<Tensor>& expected) {
  std::vector<Tensor> all;
  for (size_t i = 0; i < found.size(); ++i) {
    all.push_back((found[i].to(torch::kFloat64) - expected[i]).abs().max() /
                  expected[i].abs().max().clamp_min(1));
  }
  const Tensor values = torch::stack(all).cpu();
  return {values.data_ptr<double>(), values.data_ptr<double>() + values.numel()};
}

}  // namespace

std::string CheckKernels(const torch::Device& device, const SupportsProblem& supports,
                         const RunKernels& run) {
  const torch::AutoGradMode with_gradients(true);  // whatever the caller's is
  for (const CheckedCase& c : kCases) {
    for (const Arithmetic& form : kArithmetics) {
      // narrower heads' gradients are computed in float32 (linear_op.cc)
      if (form.type == torch::kBFloat16 && c.width < 32) continue;
      const Example example(c, form.type, device);
      const std::vector<Tensor> found = example.Run(supports, run, form.one_product);
      if (found.empty()) continue;
      const std::vector<double> differences = Differences(found, example.Reference());
      for (size_t i = 0; i < differences.size(); ++i) {
        if (differences[i] <= form.tolerance) continue;  // false for a NaN
        std::ostringstream line;
        line << "the kernels' " << kResults[i] << " differs by " << differences[i]
             << " of the largest value, expected at most " << form.tolerance << " (length "
             << c.length << ", width " << c.width << ", " << form.type
             << (form.one_product ? " in tf32)" : ")");
        return line.str();
      }
    }
  }
  return "";
}

}  // namespace cosdt::attention
