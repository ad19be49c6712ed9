// Rows in scratch for causal linear attention: loading, storing, sums, feature maps; and the
// scratch itself. Included once for every instruction set.
#if defined(COSDT_ATTENTION_ROWS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef COSDT_ATTENTION_ROWS_INL_H_
#undef COSDT_ATTENTION_ROWS_INL_H_
#else
#define COSDT_ATTENTION_ROWS_INL_H_
#endif

#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

#include "attention/bfloat16-inl.h"
#include "attention/linear_kernels.h"

HWY_BEFORE_NAMESPACE();
namespace cosdt::attention::kernels::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

template <class T>
using Tag = hn::ScalableTag<T>;
template <class T>
inline constexpr size_t kLanes = hn::MaxLanes(Tag<T>());

constexpr size_t RoundUp(size_t n, size_t step) { return (n + step - 1) / step * step; }

// Columns of scratch for n values: whole vectors, and whole groups of four for transposing.
template <class T>
constexpr size_t Padded(size_t n) {
  return RoundUp(n, std::max<size_t>(kLanes<T>, 4));
}

// sum of x[p] y[p], exactly n values at any address.
template <class T>
HWY_INLINE T Dot(const T* x, const T* y, size_t n) {
  const Tag<T> d;
  auto sum = hn::Zero(d);
  size_t p = 0;
  for (; p + kLanes<T> <= n; p += kLanes<T>) {
    sum = hn::MulAdd(hn::LoadU(d, x + p), hn::LoadU(d, y + p), sum);
  }
  T total = hn::GetLane(hn::SumOfLanes(d, sum));
  for (; p < n; ++p) total += x[p] * y[p];
  return total;
}

// sum of x[0 .. n), not rounded up.
template <class T>
HWY_INLINE T Sum(const T* x, size_t n) {
  const Tag<T> d;
  auto sum = hn::Zero(d);
  size_t p = 0;
  for (; p + kLanes<T> <= n; p += kLanes<T>) sum = hn::Add(sum, hn::Load(d, x + p));
  sum = hn::Add(sum, hn::IfThenElseZero(hn::FirstN(d, n - p), hn::Load(d, x + p)));
  return hn::GetLane(hn::SumOfLanes(d, sum));
}

// to = factor x, exactly n values at any address.
template <class T>
HWY_INLINE void ScaleTo(const T* x, T factor, size_t n, T* to) {
  const Tag<T> d;
  const auto f = hn::Set(d, factor);
  size_t p = 0;
  for (; p + kLanes<T> <= n; p += kLanes<T>) {
    hn::StoreU(hn::Mul(f, hn::LoadU(d, x + p)), d, to + p);
  }
  for (; p < n; ++p) to[p] = factor * x[p];
}

// to = scale to + the sum of `rows` rows, which are whole vectors.
template <class T>
HWY_INLINE void AddRows(const T* from, size_t columns, size_t rows, T scale, T* to) {
  const Tag<T> d;
  for (size_t p = 0; p < columns; p += kLanes<T>) {
    auto sum = hn::Mul(hn::Set(d, scale), hn::Load(d, to + p));
    for (size_t r = 0; r < rows; ++r) sum = hn::Add(sum, hn::Load(d, from + r * columns + p));
    hn::Store(sum, d, to + p);
  }
}

// A token's n values as T, zeros up to Padded(n).
template <class T>
HWY_INLINE void LoadRow(const Array& array, Type type, ptrdiff_t offset, size_t n, T* to) {
  const Tag<T> d;
  size_t p = 0;
  if constexpr (std::is_same_v<T, float>) {
    if (type == Type::kBFloat16) {
      const auto* const from = static_cast<const uint16_t*>(array.data) + offset;
      for (; p + kLanes<T> <= n; p += kLanes<T>) {
        hn::Store(attention::HWY_NAMESPACE::LoadBFloat16(d, from + p), d, to + p);
      }
      for (; p < n; ++p) {
        const uint32_t bits = static_cast<uint32_t>(from[p]) << 16;
        std::memcpy(to + p, &bits, sizeof bits);
      }
    }
  }
  if (p == 0) {
    const auto* const from = static_cast<const T*>(array.data) + offset;
    for (; p + kLanes<T> <= n; p += kLanes<T>) hn::Store(hn::LoadU(d, from + p), d, to + p);
    for (; p < n; ++p) to[p] = from[p];
  }
  for (; p < Padded<T>(n); ++p) to[p] = 0;
}

// factor x, rounded to the array's type.
template <class T>
HWY_INLINE void StoreRow(const T* x, T factor, size_t n, const Array& array, Type type,
                         ptrdiff_t offset) {
  if constexpr (std::is_same_v<T, float>) {
    if (type == Type::kBFloat16) {
      const Tag<float> d;
      uint16_t rounded[kLanes<float>];
      auto* const to = static_cast<uint16_t*>(array.data) + offset;
      for (size_t p = 0; p < n; p += kLanes<T>) {
        attention::HWY_NAMESPACE::StoreBFloat16(hn::Mul(hn::Set(d, factor), hn::Load(d, x + p)), d,
                                                rounded);
        std::copy_n(rounded, std::min(kLanes<T>, n - p), to + p);
      }
      return;
    }
  }
  ScaleTo(x, factor, n, static_cast<T*>(array.data) + offset);
}

// to = phi(x) of n values, which are rounded up to vectors; the padding stays 0. `x` may be `to`.
template <class T>
HWY_INLINE void MapFeatures(Features features, size_t n, const T* x, T* to) {
  const Tag<T> d;
  const auto zero = hn::Zero(d), one = hn::Set(d, T{1});
  for (size_t p = 0; p < n; p += kLanes<T>) {
    auto value = hn::LoadU(d, x + p);
    if (features == Features::kRelu) {
      // not the maximum, which would lose a NaN
      value = hn::IfThenElse(hn::Lt(value, zero), zero, value);
    } else if (features == Features::kEluPlusOne) {
      const auto below = hn::IfThenElse(hn::IsNaN(value), value, hn::Exp(d, value));
      value = hn::IfThenElse(hn::Gt(value, zero), hn::Add(value, one), below);
    }
    hn::Store(value, d, to + p);
  }
  if (features == Features::kEluPlusOne) {
    for (size_t p = n; p < Padded<T>(n); ++p) to[p] = 0;
  }
}

// gradient *= phi', which follows from phi itself; n rounded up to vectors.
template <class T>
HWY_INLINE void MulFeatureSlopes(Features features, const T* phi, size_t n, T* gradient) {
  const Tag<T> d;
  const auto zero = hn::Zero(d), one = hn::Set(d, T{1});
  if (features == Features::kIdentity) return;
  for (size_t p = 0; p < n; p += kLanes<T>) {
    const auto x = hn::LoadU(d, phi + p);
    auto g = hn::LoadU(d, gradient + p);
    if (features == Features::kRelu) {
      g = hn::IfThenElse(hn::Le(x, zero), zero, g);
    } else {
      g = hn::Mul(g, hn::IfThenElse(hn::Gt(x, one), one, x));
    }
    hn::StoreU(g, d, gradient + p);
  }
}

// One thread's scratch: it grows, is kept, and is handed out again from the start for every head,
// because touching fresh memory costs more than the arithmetic.
class Scratch {
 public:
  template <class T>
  T* Take(size_t n) {
    const size_t begin = used_;
    used_ += RoundUp(n * sizeof(T), 64);
    return base_ ? reinterpret_cast<T*>(base_ + begin) : nullptr;
  }
  // Makes room for what `take` takes, then takes it.
  template <class Layout>
  void Fit(const Layout& take) {
    base_ = nullptr;
    used_ = 0;
    take(*this);
    const size_t needed = used_ + 64;
    if (memory_.size() < needed) memory_.resize(needed);
    const auto address = reinterpret_cast<uintptr_t>(memory_.data());
    base_ = memory_.data() + (64 - address % 64) % 64;
    used_ = 0;
    take(*this);
  }

  // Bytes taken since the last Fit.
  size_t size() const { return used_; }

 private:
  std::vector<std::byte> memory_;
  std::byte* base_ = nullptr;
  size_t used_ = 0;
};

}  // namespace cosdt::attention::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
