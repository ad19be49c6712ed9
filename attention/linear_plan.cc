#include <algorithm>
#include <cmath>
#include <numbers>

#include "attention/linear_form.h"
#include "attention/linear_kernels.h"

namespace cosdt::attention::kernels {
namespace {

// One block of rows of the kernels: longer chunks were never faster (attention/README.md).
constexpr int64_t kChunk = 48;

// Heads are cut into segments, of at least kMinChunks, if there are fewer heads than this.
constexpr int64_t kItems = 16;
constexpr int64_t kMinChunks = 8;

// Up to here one quadratic tile is faster than chunks with a state between them, which cost four
// (without M two) widths of products per token and an overhead, twice as large backward.
int64_t QuadraticLimit(const Problem& problem, Pass pass) {
  const int64_t width = (problem.width + problem.value_width) / 2;
  return (problem.reweight_length > 0 ? 4 : 2) * width +
         (pass == Pass::kForward ? kChunk : 2 * kChunk);
}

// Appends function(i) for i in [begin, end) as values of `type`.
template <class Function>
void Append(Type type, int64_t begin, int64_t end, const Function& function,
            std::vector<std::byte>& table) {
  const auto append = [&](auto value) {
    const auto* const bytes = reinterpret_cast<const std::byte*>(&value);
    table.insert(table.end(), bytes, bytes + sizeof value);
  };
  for (int64_t i = begin; i < end; ++i) {
    const double value = function(i);
    if (type == Type::kFloat64) {
      append(value);
    } else {
      append(static_cast<float>(value));
    }
  }
}

// decay^n, and 0 where products with it would be slow because they have no normalised form.
double Power(double decay, int64_t n) {
  const double power = std::pow(decay, static_cast<double>(n));
  return power < 1e-30 ? 0 : power;
}

}  // namespace

Plan::Plan(const Problem& problem, Pass pass, int64_t chunk)
    : problem_(problem), pass_(pass), chunk_(chunk) {
  if (chunk_ == 0) {
    chunk_ = problem.length <= QuadraticLimit(problem, pass) ? problem.length : kChunk;
  }
  chunk_ = std::min(chunk_, problem.length);
  chunks_ = (problem.length + chunk_ - 1) / chunk_;
  // by the shape alone, never by the number of threads, because the cut decides the results' bits
  segments_ = std::clamp<int64_t>(kItems / heads(), 1, std::max<int64_t>(1, chunks_ / kMinChunks));
  chunks_per_segment_ = (chunks_ + segments_ - 1) / segments_;
  segments_ = (chunks_ + chunks_per_segment_ - 1) / chunks_per_segment_;
  reach_ = chunk_ + 64;  // a tile reads up to a whole panel beyond the diagonal
  FillWeights();
}

void Plan::FillWeights() {
  const int64_t reach = problem_.reweight_length;
  const double step = reach == 0 ? 0 : std::numbers::pi / 2 / static_cast<double>(reach);
  const auto fill = [&](int64_t begin, int64_t end, std::vector<std::byte>& table,
                        const auto& function) {
    Append(problem_.type, begin, end, function, table);
  };
  const auto angle = [step](int64_t i) { return step * static_cast<double>(i); };
  if (problem_.half_life > 0) {
    for (int64_t head = 0; head < problem_.heads; ++head) {
      const double decay = DecayOf(problem_.half_life, head);
      fill(-reach_, reach_ + 1, toeplitz_,
           [&](int64_t i) { return std::cos(angle(i)) * Power(decay, std::max<int64_t>(0, -i)); });
      if (chunks_ == 1) continue;
      fill(0, chunk_ + 16, decays_, [&](int64_t i) { return Power(decay, i); });
    }
  } else if (reach > 0) {
    fill(-reach_, reach_ + 1, toeplitz_, [&](int64_t i) { return std::cos(angle(i)); });
  }
  if (reach == 0 || chunks_ == 1) return;
  const int64_t end = problem_.length + 16;
  fill(0, end, cosine_, [&](int64_t i) { return std::cos(angle(i)); });
  fill(0, end, sine_, [&](int64_t i) { return std::sin(angle(i)); });
  fill(0, end, tangent_, [&](int64_t i) { return std::tan(angle(i)); });
}

double CountFlops(const Plan& plan) {
  const Problem& p = plan.problem();
  const auto width = static_cast<double>(p.width), value_width = static_cast<double>(p.value_width);
  const bool forward = plan.pass() == Pass::kForward;
  double flops = 0;
  for (int64_t begin = 0; begin < p.length; begin += plan.chunk()) {
    const auto n = static_cast<double>(std::min(plan.chunk(), p.length - begin));
    flops += n * (n + 1) * (forward ? width + value_width : 3 * width + 2 * value_width);
  }
  if (plan.chunks() > 1) {
    flops += (p.reweight_length > 0 ? 4.0 : 2.0) * (forward ? 2 : 5) *
             static_cast<double>(p.length) * width * value_width;
  }
  return static_cast<double>(plan.heads()) * flops;
}

}  // namespace cosdt::attention::kernels
