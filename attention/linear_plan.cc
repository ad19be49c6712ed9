#include <algorithm>
#include <cmath>
#include <cstring>
#include <numbers>

#include "attention/linear_kernels.h"

namespace cosdt::attention::kernels {
namespace {

// Chunks of a multiple of the kernels' block of rows; measured in attention/README.md.
constexpr int64_t kChunk = 96;

// Segments are cut where there are fewer heads than this, and are no shorter than kLeastChunks.
constexpr int64_t kItems = 16;
constexpr int64_t kLeastChunks = 8;

// Up to here one quadratic tile does less work than chunks with a state between them.
int64_t QuadraticLimit(const Problem& problem) {
  const int64_t width = (problem.width + problem.value_width) / 2;
  return (problem.reweight_length > 0 ? 4 : 2) * width + kChunk;
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

Plan::Plan(const Problem& problem, int64_t chunk) : problem_(problem), chunk_(chunk) {
  if (chunk_ == 0) {
    chunk_ = problem.length <= QuadraticLimit(problem) ? problem.length : kChunk;
  }
  chunk_ = std::min(chunk_, problem.length);
  chunks_ = (problem.length + chunk_ - 1) / chunk_;
  // by the shape alone, never by the number of threads: the results' bits follow from it
  segments_ =
      std::clamp<int64_t>(kItems / heads(), 1, std::max<int64_t>(1, chunks_ / kLeastChunks));
  chunks_per_segment_ = (chunks_ + segments_ - 1) / segments_;
  segments_ = (chunks_ + chunks_per_segment_ - 1) / chunks_per_segment_;
  reach_ = chunk_ + 64;  // a tile reads up to a whole panel beyond the diagonal
  if (problem.reweight_length == 0) return;
  const double step = std::numbers::pi / 2 / static_cast<double>(problem.reweight_length);
  const auto fill = problem.type == Type::kFloat64 ? Fill<double> : Fill<float>;
  fill(toeplitz_, -reach_, reach_ + 1, step, [](double x) { return std::cos(x); });
  if (chunks_ == 1) return;
  fill(cosine_, 0, problem.length, step, [](double x) { return std::cos(x); });
  fill(sine_, 0, problem.length, step, [](double x) { return std::sin(x); });
}

namespace {

double Flops(int64_t length, int64_t width, int64_t value_width, int64_t chunk, bool reweight,
             int width_products, int value_products, int state_products) {
  double flops = 0;
  for (int64_t begin = 0; begin < length; begin += chunk) {
    const double n = static_cast<double>(std::min(chunk, length - begin));
    flops += n * (n + 1) *
             (width_products * static_cast<double>(width) +
              value_products * static_cast<double>(value_width));
  }
  if (chunk < length) {
    flops += 2.0 * (reweight ? 2 : 1) * state_products * static_cast<double>(length) *
             static_cast<double>(width) * static_cast<double>(value_width);
  }
  return flops;
}

}  // namespace

double ForwardFlops(int64_t length, int64_t width, int64_t value_width, int64_t chunk,
                    bool reweight) {
  return Flops(length, width, value_width, chunk, reweight, 1, 1, 2);
}

double BackwardFlops(int64_t length, int64_t width, int64_t value_width, int64_t chunk,
                     bool reweight) {
  return Flops(length, width, value_width, chunk, reweight, 3, 2, 5);
}

}  // namespace cosdt::attention::kernels
