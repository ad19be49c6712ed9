#include "experiments/bench/attention_comparisons.h"

#include <torch/torch.h>

#include <array>
#include <numbers>
#include <string>

#include "attention/cases.h"
#include "attention/linear_kernels.h"
#include "experiments/bench/attention_runner.h"
#include "experiments/bench/token_recurrence.h"

namespace cosdt::experiments {
namespace {

namespace kernels = attention::kernels;
using attention::Case;
using torch::Tensor;

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

void AgainstSoftmax(int repeats, std::vector<BenchRow>& rows) {
  for (const auto& [batch, heads, length, width] : {std::array<int64_t, 4>{64, 1, 60, 128},
                                                    {64, 4, 60, 64},
                                                    {1, 8, 1024, 64},
                                                    {1, 2, 4096, 64},
                                                    {1, 8, 1024, 128},
                                                    {1, 2, 4096, 128}}) {
    const Case c = MakeCase("cosformer", batch, heads, length, width);
    AttentionRunner ours(c), theirs(MakeCase("softmax", batch, heads, length, width));
    rows.push_back(CompareRates(
        Shape(c), "tokens forward+backward", "softmax of LibTorch", [&] { return ours.Rate(true); },
        [&] { return theirs.Rate(true); }, repeats));
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

  // Tokens x heads per second through both passes in chunks of `chunk`, or as the dispatch has it.
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

void AgainstOtherForms(int repeats, std::vector<BenchRow>& rows) {
  const torch::NoGradGuard no_grad;
  for (const int64_t width : {64, 128}) {
    const Case c = MakeCase("cosformer", 1, 1, 1024, width);
    const int64_t reweight_length = c.options.reweight_length;
    AttentionRunner ours(c);
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
        repeats));
    rows.push_back(CompareRates(
        Shape(c), "tokens forward", "cumulative sums in LibTorch", [&] { return ours.Rate(false); },
        [&] {
          return BestRate(0.15, static_cast<double>(c.length),
                          [&] { CumulativeSums(ours.q(), ours.k(), ours.v(), reweight_length); });
        },
        repeats));
  }
}

void AgainstPeak(int repeats, std::vector<BenchRow>& rows) {
  for (const int64_t width : {64, 128}) {
    for (const int64_t length : {512, 1024, 4096}) {
      for (const auto pass : {kernels::Pass::kForward, kernels::Pass::kBackward}) {
        KernelRunner runner(1, length, width);
        const std::string metric =
            pass == kernels::Pass::kForward ? "MFLOP forward" : "MFLOP backward";
        rows.push_back(CompareRates(
            "L " + std::to_string(length) + ", d " + std::to_string(width), metric,
            "multiply-adds on registers", [&] { return runner.FlopRate(pass) / 1e6; },
            [] { return kernels::MeasurePeakFlops() / 1e6; }, repeats));
      }
    }
  }
}

void AgainstQuadratic(int repeats, std::vector<BenchRow>& rows) {
  for (const int64_t width : {16, 64, 128}) {
    for (const int64_t length : {60, 128, 256, 384, 512, 768, 1024}) {
      KernelRunner runner(2, length, width);
      rows.push_back(CompareRates(
          "L " + std::to_string(length) + ", d " + std::to_string(width), "tokens forward+backward",
          "its own quadratic form", [&] { return runner.Rate(0); },
          [&] { return runner.Rate(length); }, repeats));
    }
  }
}

}  // namespace

std::vector<BenchRow> CompareAttentionKernels(int repeats) {
  std::vector<BenchRow> rows;
  AgainstPeak(repeats, rows);
  AgainstOtherForms(repeats, rows);
  AgainstQuadratic(repeats, rows);
  AgainstSoftmax(repeats, rows);
  return rows;
}

}  // namespace cosdt::experiments
