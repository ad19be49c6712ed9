// Problems for the CUDA kernels with their values, and the kernels' templates run on them on the
// host, a block's threads emulated (warp_emulator.h).
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <type_traits>
#include <vector>

#include "attention/cuda_pass.cuh"
#include "tests/attention/warp_emulator.h"

namespace cosdt::attention::kernels::cuda {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

using host::Order;

// Runs a pass on the host. Shared memory and workspace hold NaNs before anything is written.
void RunOnHost(const Problem& problem, Pass pass, const Cut& cut, Order order = Order::kUp);

inline float ToNumber(float x) { return x; }
inline float ToNumber(BFloat16 x) { return ToFloat(x); }
inline double ToNumber(double x) { return x; }
inline void Set(float& to, double x) { to = static_cast<float>(x); }
inline void Set(BFloat16& to, double x) { Round(static_cast<float>(x), to); }
inline void Set(double& to, double x) { to = x; }

struct Case {
  int64_t batch = 1, heads = 1, length = 1, width = 16;
  int64_t reweight_length = 0;
  Features features = Features::kRelu;
  bool normalize = true, masked = false;
  int64_t value_width = 0;  // 0: the width

  std::string Name() const {
    return "B " + std::to_string(batch) + ", H " + std::to_string(heads) + ", L " +
           std::to_string(length) + ", d " + std::to_string(width) + ", M " +
           std::to_string(reweight_length) + ", features " +
           std::to_string(static_cast<int>(features)) + (normalize ? "" : ", not normalized") +
           (masked ? ", masked" : "") + ", d_v " + std::to_string(value_width);
  }
};

// One problem's values: q, k and v are packed as [batch, length, 3, heads, width], like their
// gradients; output and its gradient are [batch, length, heads, width].
template <class T>
class Example {
 public:
  explicit Example(const Case& c) : case_(c) {
    const auto values = static_cast<size_t>(c.batch * c.heads * c.length * c.width);
    for (auto* x : {&packed, &packed_grad}) x->resize(3 * values, T{});
    for (auto* x : {&out, &grad}) x->resize(values, T{});
    normalizer.resize(static_cast<size_t>(c.batch * c.heads * c.length));
    std::mt19937 engine(5);
    std::normal_distribution<double> normal;
    for (auto* x : {&packed, &grad}) {
      for (T& value : *x) Set(value, normal(engine));
    }
    for (int64_t i = 0; i < c.batch * c.length; ++i) {
      mask.push_back(i % c.length >= c.length / 3 + i / c.length && i % 7 != 6);
    }
  }

  // The same values in another type.
  template <class U>
  Example<U> As() const {
    Example<U> to(case_);
    for (size_t i = 0; i < packed.size(); ++i) Set(to.packed[i], ToNumber(packed[i]));
    for (size_t i = 0; i < grad.size(); ++i) Set(to.grad[i], ToNumber(grad[i]));
    return to;
  }

  Problem MakeProblem() {
    Problem p;
    p.type = sizeof(T) == 8 ? Type::kFloat64 : sizeof(T) == 2 ? Type::kBFloat16 : Type::kFloat32;
    p.features = case_.features;
    p.batch = case_.batch;
    p.heads = case_.heads;
    p.length = case_.length;
    p.width = case_.width;
    p.value_width = case_.value_width > 0 ? case_.value_width : case_.width;
    p.reweight_length = case_.reweight_length;
    p.normalize = case_.normalize;
    p.q = Of(packed, 3, 0), p.k = Of(packed, 3, 1), p.v = Of(packed, 3, 2);
    p.grad_q = Of(packed_grad, 3, 0), p.grad_k = Of(packed_grad, 3, 1);
    p.grad_v = Of(packed_grad, 3, 2);
    p.out = Of(out, 1, 0), p.grad_out = Of(grad, 1, 0);
    p.normalizer = normalizer.data();
    mask_bytes.assign(mask.begin(), mask.end());
    if (case_.masked) p.mask = reinterpret_cast<const bool*>(mask_bytes.data());
    return p;
  }

  T& At(std::vector<T>& x, int64_t arrays, int64_t array, int64_t batch, int64_t head,
        int64_t token, int64_t column) {
    const Case& c = case_;
    const int64_t row = ((batch * c.length + token) * arrays + array) * c.heads + head;
    return x[static_cast<size_t>(row * c.width + column)];
  }

  std::vector<T> packed, packed_grad, out, grad;
  std::vector<std::conditional_t<sizeof(T) == 8, double, float>> normalizer;
  std::vector<bool> mask;
  std::vector<unsigned char> mask_bytes;

 private:
  Array Of(std::vector<T>& x, int64_t arrays, int64_t array) {
    const auto token = static_cast<ptrdiff_t>(arrays * case_.heads * case_.width);
    return {&At(x, arrays, array, 0, 0, 0, 0), static_cast<ptrdiff_t>(case_.length) * token,
            static_cast<ptrdiff_t>(case_.width), token};
  }
  Case case_;
};

template <class T, class U>
double LargestError(const std::vector<T>& found, const std::vector<U>& expected) {
  double error = 0, scale = 1;
  for (size_t i = 0; i < found.size(); ++i) {
    const auto a = static_cast<double>(ToNumber(found[i]));
    const auto b = static_cast<double>(ToNumber(expected[i]));
    error = std::abs(a - b) <= error ? error : std::abs(a - b);  // a NaN stays
    scale = std::max(scale, std::abs(b));
  }
  return error / scale;
}

template <class T>
void RunBoth(Example<T>& x, const Cut& cut, Order order = Order::kUp) {
  const Problem problem = x.MakeProblem();
  for (const Pass pass : {Pass::kForward, Pass::kBackward}) RunOnHost(problem, pass, cut, order);
}

// A head in the given number of segments.
inline Cut Segments(int64_t length, int64_t segments = 1) {
  const int64_t chunks = (length + kChunk - 1) / kChunk;
  const int64_t each = (chunks + segments - 1) / segments;
  return {static_cast<int>((chunks + each - 1) / each), static_cast<int>(each)};
}

}  // namespace cosdt::attention::kernels::cuda
