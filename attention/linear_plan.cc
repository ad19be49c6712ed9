#include <algorithm>
#include <cmath>
#include <cstring>
#include <numbers>

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

template <class T>
void Fill(std::vector<std::byte>& table, int64_t begin, int64_t end, double step,
          double (*function)(double)) {
  table.resize(static_cast<size_t>(end - begin) * sizeof(T));
  for (int64_t i = begin; i < end; ++i) {
    const T value = static_cast<T>(function(step * static_cast<double>(i)));
    std::memcpy(table.data() + static_cast<size_t>(i - begin) * sizeof(T), &value, sizeof(T));
  }
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
  if (problem.reweight_length == 0) return;
  const double step = std::numbers::pi / 2 / static_cast<double>(problem.reweight_length);
  const auto fill = problem.type == Type::kFloat64 ? Fill<double> : Fill<float>;
  fill(toeplitz_, -reach_, reach_ + 1, step, [](double x) { return std::cos(x); });
  if (chunks_ == 1) return;
  const int64_t end = problem.length + 16;
  fill(cosine_, 0, end, step, [](double x) { return std::cos(x); });
  fill(sine_, 0, end, step, [](double x) { return std::sin(x); });
  fill(tangent_, 0, end, step, [](double x) { return std::tan(x); });
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
