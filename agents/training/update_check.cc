#include "agents/training/update_check.h"

#include <ATen/CPUGeneratorImpl.h>

#include <bit>
#include <cstdio>
#include <functional>
#include <map>
#include <mutex>
#include <tuple>
#include <vector>

#include "agents/training/update_inputs.h"
#include "agents/training/update_ops.h"

namespace cosdt::agents {
namespace {

namespace ops = update_ops;
namespace in = update_inputs;
using torch::Tensor;

constexpr int64_t kBatch = 3, kContext = 23, kKeys = 4, kObservations = 11, kActions = 3;
constexpr int64_t kDataRows = 60;
constexpr int64_t kLimit = 12;            // of timesteps; windows go beyond
constexpr int64_t kTokens[] = {3, 2, 1};  // per step
constexpr int64_t kRows = 210;            // of the operations that know no steps
constexpr double kP = 0.1, kEpsilon = 1e-5;

// The arrays of one operation, the same values on any device.
class Arrays {
 public:
  Arrays(const torch::Device& device, torch::ScalarType type, int64_t width)
      : device_(device),
        type_(type),
        width_(width),
        generator_(at::detail::createCPUGenerator(12345)) {}

  int64_t width() const { return width_; }

  Tensor Values(torch::IntArrayRef shape, torch::ScalarType type = torch::kFloat32) {
    return torch::randn(shape, generator_).to(type).to(device_);
  }
  // of the type of products
  Tensor Rounded(torch::IntArrayRef shape) { return Values(shape, type_); }
  // for results: previous values must not matter
  Tensor Result(torch::IntArrayRef shape, torch::ScalarType type = torch::kFloat32) {
    return torch::full(shape, type == torch::kBool ? 1 : 77,
                       torch::TensorOptions(device_).dtype(type));
  }
  Tensor RoundedResult(torch::IntArrayRef shape) { return Result(shape, type_); }
  // Parts of a wider array: few, so that all warps of a block have rows, and more than one tile.
  Tensor Parts(int64_t columns) { return Result({2, columns + 3}).narrow(1, 2, columns); }
  Tensor Statistics(const Tensor& x) {
    const Tensor rows = x.to(torch::kCPU).view({-1, width_});
    const Tensor variance = rows.var(1, /*unbiased=*/false);
    return torch::stack({rows.mean(1), (variance + kEpsilon).rsqrt()}).to(device_);
  }
  // Windows: whole, short, and one whose timesteps pass the limit; then again.
  Tensor Inputs(int64_t batch = kBatch, int64_t context = kContext) {
    Tensor words = torch::zeros({3, in::Width(batch, kKeys)}, torch::kInt64);
    int64_t* const row = words.data_ptr<int64_t>() + words.size(1);
    row[in::kDecay] = std::bit_cast<int64_t>(0.999);
    row[in::kRootCorrection] = std::bit_cast<int64_t>(0.2);
    row[in::kRate] = std::bit_cast<int64_t>(0.01);
    for (int64_t i = 0; i < kKeys; ++i) {
      row[in::kKeys + i] = static_cast<int64_t>(0x9e3779b97f4a7c15 * static_cast<uint64_t>(i + 1));
    }
    const int64_t windows[3][3] = {{0, 0, context}, {20, 4, 2}, {30, kLimit - 2, context}};
    for (int64_t i = 0; i < batch; ++i) {
      std::copy_n(windows[i % 3], 3, row + in::kKeys + kKeys + 3 * i);
      row[in::kReal] += windows[i % 3][2];
    }
    words[2].copy_(words[1] + 1);
    return words.to(device_);
  }
  std::vector<Tensor> Data() {
    return {Values({kDataRows}), Values({kDataRows, kObservations}), Values({kDataRows, kActions})};
  }
  std::vector<Tensor> EmbedWeights() {
    const int64_t w = width_;
    return {Values({kLimit, w}), Values({w, 1}),        Values({w}), Values({w, kObservations}),
            Values({w}),         Values({w, kActions}), Values({w}), Values({w}),
            Values({w}),         Values({w}),           Values({w})};
  }

 private:
  torch::Device device_;
  torch::ScalarType type_;
  int64_t width_;
  at::Generator generator_;
};

using Results = std::vector<Tensor>;
struct Case {
  const char* name;
  std::function<Results(Arrays&)> run;
};

Tensor Sum(const Tensor& parts) { return parts.sum(0); }

Results EmbedForward(Arrays& a) {
  Results out;
  const auto data = a.Data(), weights = a.EmbedWeights();
  for (const int64_t tokens : kTokens) {
    const int64_t length = tokens * kContext;
    const std::vector<int64_t> shape = {kBatch, length, a.width()};
    const Results of_tokens = {a.Result({kBatch, length}, torch::kBool), a.Result(shape),
                               a.Result({2, kBatch * length}),           a.Result(shape),
                               a.Result({2, kBatch * length}),           a.RoundedResult(shape)};
    ops::EmbedForward({data, weights, a.Inputs(), tokens, kP}, kEpsilon, of_tokens[0], of_tokens[1],
                      of_tokens[2], of_tokens[3], of_tokens[4], of_tokens[5]);
    out.insert(out.end(), of_tokens.begin(), of_tokens.end());
  }
  return out;
}

Results EmbedBackward(Arrays& a) {
  Results out;
  const auto weights = a.EmbedWeights();
  for (const int64_t tokens_per_step : kTokens) {
    const std::vector<int64_t> shape = {kBatch, tokens_per_step * kContext, a.width()};
    const Tensor tokens = a.Values(shape), x = a.Values(shape), grad_y = a.Rounded(shape);
    for (const Tensor& grad_x : {a.Values(shape), a.Values({kBatch, kContext, a.width()})}) {
      const Tensor grad = a.Result(shape), parts = a.Parts(4 * a.width());
      ops::EmbedBackward({{}, weights, a.Inputs(), tokens_per_step, kP}, tokens,
                         a.Statistics(tokens), x, a.Statistics(x), grad_y, grad_x, grad, parts);
      out.insert(out.end(), {grad, Sum(parts)});
    }
  }
  return out;
}

Results EmbedGradients(Arrays& a) {
  Results out;
  const auto data = a.Data();
  for (const int64_t tokens : kTokens) {
    for (const auto& [batch, context] : {std::pair{kBatch, kContext}, {int64_t{131}, int64_t{2}}}) {
      const Tensor grad = a.Values({batch, tokens * context, a.width()});
      const Tensor table = a.Result({kLimit, a.width()});
      const Tensor parts = a.Parts((1 + kObservations + kActions + 3) * a.width());
      // padding has no gradient
      grad.narrow(0, 1, 1).narrow(1, 0, tokens * (context - 2)).zero_();
      ops::EmbedGradients({data, {}, a.Inputs(batch, context), tokens, kP}, grad, table, parts);
      out.insert(out.end(), {table, Sum(parts)});
    }
  }
  return out;
}

Results AddNormForward(Arrays& a) {
  Results out;
  for (const bool apart : {false, true}) {
    const Tensor whole = a.Values({3 * kRows, a.width()});
    const Tensor x =
        apart ? whole.view({kRows, 3, a.width()}).select(1, 1) : whole.narrow(0, 0, kRows);
    const Tensor sum = a.Result({kRows, a.width()}), statistics = a.Result({2, kRows}),
                 y = a.RoundedResult({kRows, a.width()});
    ops::AddNormForward(x, a.Rounded({kRows, a.width()}), a.Inputs(), 2, kP, a.Values({a.width()}),
                        a.Values({a.width()}), kEpsilon, sum, statistics, y);
    out.insert(out.end(), {sum, statistics, y});
  }
  return out;
}

Results Normalize(Arrays& a) {
  const Tensor sum = a.Values({kRows, a.width()}), y = a.RoundedResult({kRows, a.width()});
  ops::Normalize(sum, a.Statistics(sum), a.Values({a.width()}), a.Values({a.width()}), y);
  return {y};
}

Results AddNormBackward(Arrays& a) {
  Results out;
  const Tensor sum = a.Values({kRows, a.width()}), gamma = a.Values({a.width()});
  const Tensor grad_y = a.Rounded({kRows, a.width()}), whole = a.Values({kRows, a.width()});
  for (const Tensor& grad_sum :
       {Tensor(), a.Values({kRows / 3, a.width()}), a.Values({kRows / 2, a.width()}), whole}) {
    const Tensor grad_x = grad_sum.is_same(whole) ? whole : a.Result({kRows, a.width()});
    const Tensor update = a.RoundedResult({kRows, a.width()});
    const Tensor norm = a.Parts(2 * a.width()), bias = a.Parts(a.width());
    ops::AddNormBackward(sum, a.Statistics(sum), gamma, grad_y, grad_sum, a.Inputs(), 3, kP, grad_x,
                         update, norm, bias);
    out.insert(out.end(), {grad_x, update, Sum(norm), Sum(bias)});
  }
  return out;
}

Results DropRows(Arrays& a) {
  Results out;
  for (const auto& [from, to] : {std::pair{kRows, kRows},
                                 {kRows, kRows / 3},
                                 {kRows / 3, kRows},
                                 {kRows, kRows / 2},
                                 {kRows / 2, kRows}}) {
    out.push_back(a.RoundedResult({to, a.width()}));
    ops::DropRows(a.Rounded({from, a.width()}), a.Inputs(), 1, kP, out.back());
  }
  return out;
}

Results ColumnSums(Arrays& a) {
  Results out;
  for (const char* activation : {"", "relu", "gelu"}) {
    const Tensor x = a.Rounded({kRows, a.width()}), parts = a.Parts(a.width());
    Tensor hidden = a.Rounded({kRows, a.width()});
    if (activation == std::string("relu")) hidden = hidden.relu();
    ops::ColumnSums(activation, hidden, x, false, parts);
    ops::ColumnSums("", {}, x, true, parts);
    out.insert(out.end(), {x, Sum(parts)});
  }
  return out;
}

Results WeightGradient(Arrays& a) {
  const Tensor to = a.Result({24, a.width()});
  for (const bool accumulate : {false, true}) {
    ops::WeightGradient(a.Rounded({kRows, 24}), a.Rounded({kRows, a.width()}), accumulate, to);
  }
  return {to};
}

Results HeadLoss(Arrays& a) {
  const std::vector<int64_t> shape = {kBatch, kContext, a.width()};
  const Tensor grad_y = a.RoundedResult(shape), parts = a.Parts(kActions * (a.width() + 1) + 1);
  ops::HeadLoss(a.Rounded(shape), a.Values({kActions, a.width()}) * 0.1, a.Values({kActions}),
                a.Data()[2], a.Inputs(), grad_y, parts);
  return {grad_y, Sum(parts)};
}

// The sums, the norm and AdamW, also if the gradient is not finite.
Results AdamWStep(Arrays& a) {
  Results out;
  const int64_t size = 16 * a.width();
  for (const bool bad : {false, true}) {
    const Tensor inputs = a.Inputs(), parameters = a.Values({size}), first = a.Values({size}),
                 second = a.Values({size}).abs(),
                 bfloat16_copy = a.Result({size}, torch::kBFloat16), gradient = a.Values({size}),
                 results = a.Result({2, 2}), squares = a.Result({ops::kSquares}),
                 parts = a.Values({37, 21});
    const Tensor places = torch::arange(5, 25).to(inputs.device());
    if (bad) gradient.narrow(0, size - 1, 1).fill_(std::numeric_limits<float>::infinity());
    ops::SumParts(parts, places, inputs, gradient, results);
    ops::Squares(gradient, squares);
    ops::AdamWStep(parameters, first, second, gradient, squares, 0.25, inputs, results,
                   bfloat16_copy);
    out.insert(out.end(),
               {parameters, first, second, bfloat16_copy, results.narrow(0, 0, 1), inputs});
    if (!bad) out.push_back(gradient);
  }
  return out;
}

const Case kCases[] = {{"embedding", EmbedForward},
                       {"embedding, backward", EmbedBackward},
                       {"embedding, gradients", EmbedGradients},
                       {"LayerNorm", AddNormForward},
                       {"LayerNorm again", Normalize},
                       {"LayerNorm, backward", AddNormBackward},
                       {"dropout", DropRows},
                       {"column sums", ColumnSums},
                       {"weight gradient", WeightGradient},
                       {"head", HeadLoss},
                       {"AdamW", AdamWStep}};

// The largest difference in parts of the largest value; infinite if one is not finite and the
// other is, or is another.
double Difference(const Tensor& found_any, const Tensor& expected_any) {
  if (!torch::is_floating_point(expected_any)) {
    return torch::equal(found_any.to(torch::kCPU), expected_any.to(torch::kCPU))
               ? 0
               : std::numeric_limits<double>::infinity();
  }
  const Tensor found = found_any.to(torch::kCPU, torch::kFloat64),
               expected = expected_any.to(torch::kCPU, torch::kFloat64);
  const Tensor same = found.eq(expected) | (found.isnan() & expected.isnan());
  const Tensor error = (found - expected).abs().masked_fill(same, 0);
  const Tensor size = expected.abs().masked_fill(expected.isfinite().logical_not(), 0).max();
  const double worst = error.max().item<double>() / std::max(1.0, size.item<double>());
  return std::isnan(worst) ? std::numeric_limits<double>::infinity() : worst;
}

}  // namespace

std::vector<UpdateOpsRun> RunUpdateOps(const torch::Device& device) {
  const torch::NoGradGuard no_grad;
  std::vector<UpdateOpsRun> runs;
  for (const torch::ScalarType type : {torch::kFloat32, torch::kBFloat16}) {
    // one, two and four groups of a lane, each by vectors and by single values
    for (const int64_t width : {33, 128, 150, 160, 258, 260}) {
      for (const Case& check : kCases) {
        Arrays arrays(device, type, width);
        runs.push_back({std::string(check.name) +
                            (type == torch::kBFloat16 ? ", bf16, width " : ", fp32, width ") +
                            std::to_string(width),
                        type, check.run(arrays)});
      }
    }
  }
  return runs;
}

std::string CompareUpdateOps(const std::vector<UpdateOpsRun>& found,
                             const std::vector<UpdateOpsRun>& expected) {
  for (size_t run = 0; run < found.size(); ++run) {
    for (size_t i = 0; i < found[run].results.size(); ++i) {
      const Tensor &x = found[run].results[i], &right = expected[run].results[i];
      // bfloat16 values, and sums of them, may differ by a rounding
      const double max = found[run].type == torch::kBFloat16   ? 1.0 / 64
                         : x.scalar_type() == torch::kBFloat16 ? 1.0 / 128
                                                               : 2e-5;
      const double difference = Difference(x, right);
      if (difference <= max) continue;
      char text[80];
      std::snprintf(text, sizeof text, ", result %d: off by %.3g, allowed %.1g",
                    static_cast<int>(i), difference, max);
      return found[run].name + text;
    }
  }
  return "";
}

std::string CheckUpdateOps(const torch::Device& device) {
  return CompareUpdateOps(RunUpdateOps(device), RunUpdateOps(torch::kCPU));
}

bool UpdateOpsAgree(const torch::Device& device) {
  static std::mutex mutex;
  static std::map<std::string, bool> agree;
  const std::lock_guard lock(mutex);
  const auto known = agree.find(device.str());
  if (known != agree.end()) return known->second;
  const std::string disagreement = CheckUpdateOps(device);
  if (disagreement.empty()) {
    std::fprintf(stderr, "cosdt: training kernels on %s: checked\n", device.str().c_str());
  } else {
    std::fprintf(
        stderr,
        "cosdt: training kernels on %s disagree with the CPU (%s): training continues with "
        "LibTorch's operations\n",
        device.str().c_str(), disagreement.c_str());
  }
  return agree[device.str()] = disagreement.empty();
}

}  // namespace cosdt::agents
