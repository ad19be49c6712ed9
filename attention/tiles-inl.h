// Products of small row-major matrices on registers, and the loading of rows into scratch: what the
// kernels of causal linear attention are made of. Included once for every instruction set.
#if defined(COSDT_ATTENTION_TILES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef COSDT_ATTENTION_TILES_INL_H_
#undef COSDT_ATTENTION_TILES_INL_H_
#else
#define COSDT_ATTENTION_TILES_INL_H_
#endif

#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "attention/bfloat16-inl.h"
#include "attention/linear_kernels.h"

HWY_BEFORE_NAMESPACE();
namespace cosdt::attention::kernels::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// A tile of kTileRows x kTileVectors sums fills the registers but for the operands.
#if HWY_MAX_BYTES == 64 || HWY_ARCH_ARM_A64
inline constexpr size_t kTileRows = 6, kTileVectors = 4;
#else
inline constexpr size_t kTileRows = 6, kTileVectors = 2;
#endif
// Scratch has whole tiles of rows, and whole groups of four for transposing.
inline constexpr size_t kRowStep = 12;

template <class T>
using Tag = hn::ScalableTag<T>;
template <class T>
inline constexpr size_t kLanes = hn::MaxLanes(Tag<T>());

constexpr size_t RoundUp(size_t n, size_t step) { return (n + step - 1) / step * step; }

// Columns of scratch for n numbers: whole vectors, and whole groups of four for transposing.
template <class T>
constexpr size_t Padded(size_t n) {
  return RoundUp(n, std::max<size_t>(kLanes<T>, 4));
}

// Sums of kTileRows rows and kVectors vectors.
template <class T, size_t kVectors>
struct Tile {
  static constexpr Tag<T> d{};
  hn::Vec<Tag<T>> sum[kTileRows][kVectors];

  // one that the compiler provides would not be of the instruction set, which NEON's vectors ask
  // for
  HWY_INLINE Tile() {}
  HWY_INLINE void Clear() {
    for (size_t r = 0; r < kTileRows; ++r) {
      for (size_t c = 0; c < kVectors; ++c) sum[r][c] = hn::Zero(d);
    }
  }
  HWY_INLINE void Load(const T* HWY_RESTRICT from, size_t stride) {
    for (size_t r = 0; r < kTileRows; ++r) {
      for (size_t c = 0; c < kVectors; ++c) {
        sum[r][c] = hn::Load(d, from + r * stride + c * kLanes<T>);
      }
    }
  }
  HWY_INLINE void Store(T* HWY_RESTRICT to, size_t stride) const {
    for (size_t r = 0; r < kTileRows; ++r) {
      for (size_t c = 0; c < kVectors; ++c) {
        hn::Store(sum[r][c], d, to + r * stride + c * kLanes<T>);
      }
    }
  }

  // += a b over n steps; transposed, a's element (row, step) is at a[step a_stride + row].
  template <bool kTransposed>
  HWY_INLINE void MulAdd(const T* HWY_RESTRICT a, size_t a_stride, const T* HWY_RESTRICT b,
                         size_t b_stride, size_t n) {
    const size_t row = kTransposed ? 1 : a_stride;
    const size_t step = kTransposed ? a_stride : 1;
    for (size_t p = 0; p < n; ++p) {
      hn::Vec<Tag<T>> right[kVectors];
      for (size_t c = 0; c < kVectors; ++c) right[c] = hn::Load(d, b + c * kLanes<T>);
      for (size_t r = 0; r < kTileRows; ++r) {
        const auto left = hn::Set(d, a[r * row]);
        for (size_t c = 0; c < kVectors; ++c) sum[r][c] = hn::MulAdd(left, right[c], sum[r][c]);
      }
      a += step;
      b += b_stride;
    }
  }

  // The same over kTileRows steps of a triangle on the diagonal: a[row][step] with step <= row, or
  // transposed with step >= row. What lies outside is not read.
  template <bool kTransposed>
  HWY_INLINE void MulAddTriangle(const T* HWY_RESTRICT a, size_t a_stride, const T* HWY_RESTRICT b,
                                 size_t b_stride) {
    const size_t row = kTransposed ? 1 : a_stride;
    const size_t step = kTransposed ? a_stride : 1;
    for (size_t p = 0; p < kTileRows; ++p) {
      hn::Vec<Tag<T>> right[kVectors];
      for (size_t c = 0; c < kVectors; ++c) right[c] = hn::Load(d, b + c * kLanes<T>);
      for (size_t r = 0; r < kTileRows; ++r) {
        if (kTransposed ? p < r : p > r) continue;
        const auto left = hn::Set(d, a[r * row]);
        for (size_t c = 0; c < kVectors; ++c) sum[r][c] = hn::MulAdd(left, right[c], sum[r][c]);
      }
      a += step;
      b += b_stride;
    }
  }
};

// Calls body(column, width constant) for panels of at most kTileVectors vectors.
template <class T, class Body>
HWY_INLINE void ForPanels(size_t begin, size_t end, const Body& body) {
  constexpr size_t kWidth = kTileVectors * kLanes<T>;
  size_t column = begin;
  for (; column + kWidth <= end; column += kWidth) {
    body(column, std::integral_constant<size_t, kTileVectors>());
  }
  const size_t left = (end - column + kLanes<T> - 1) / kLanes<T>;
  if (left == 1) body(column, std::integral_constant<size_t, 1>());
  if constexpr (kTileVectors == 4) {
    if (left == 2) body(column, std::integral_constant<size_t, 2>());
    if (left == 3) body(column, std::integral_constant<size_t, 3>());
  }
}

// to[rows, columns] = a b over `steps`, or += with kAdd. `rows` and `columns` are rounded up to
// tiles and vectors, for which scratch has room.
template <bool kTransposed, bool kAdd, class T>
HWY_NOINLINE void Product(const T* a, size_t a_stride, const T* b, size_t b_stride, size_t rows,
                          size_t columns, size_t steps, T* to, size_t stride) {
  ForPanels<T>(0, columns, [&](size_t column, auto vectors) HWY_ATTR {
    for (size_t row = 0; row < rows; row += kTileRows) {
      Tile<T, vectors> tile;
      T* const at = to + row * stride + column;
      if constexpr (kAdd) {
        tile.Load(at, stride);
      } else {
        tile.Clear();
      }
      tile.template MulAdd<kTransposed>(kTransposed ? a + row : a + row * a_stride, a_stride,
                                        b + column, b_stride, steps);
      tile.Store(at, stride);
    }
  });
}

// Rows [first, first + rows) of the lower triangle of w o (a b), for a block of rows of a chunk:
// `a` and `to` begin at row `first`, `weights` at distance 0 (null: all 1).
template <class T>
HWY_NOINLINE void WeightedScores(const T* a, size_t a_stride, const T* b, size_t b_stride,
                                 size_t first, size_t rows, size_t steps, const T* weights, T* to,
                                 size_t stride) {
  const Tag<T> d;
  for (size_t row = 0; row < rows; row += kTileRows) {
    const size_t columns = RoundUp(first + row + kTileRows, kLanes<T>);
    ForPanels<T>(0, std::min(columns, stride), [&](size_t column, auto vectors) HWY_ATTR {
      Tile<T, vectors> tile;
      tile.Clear();
      tile.template MulAdd<false>(a + row * a_stride, a_stride, b + column, b_stride, steps);
      if (weights) {
        const T* const w = weights + column - (first + row);
        for (size_t r = 0; r < kTileRows; ++r) {
          for (size_t c = 0; c < vectors; ++c) {
            tile.sum[r][c] = hn::Mul(tile.sum[r][c],
                                     hn::LoadU(d, w + c * kLanes<T> - static_cast<ptrdiff_t>(r)));
          }
        }
      }
      tile.Store(to + row * stride + column, stride);
    });
  }
}

// to[rows, columns] = s b + a state, where s is the block of WeightedScores and b the chunk's rows;
// without a state where `steps` is 0.
template <class T>
HWY_NOINLINE void ScoresTimes(const T* s, size_t s_stride, size_t first, const T* b,
                              size_t b_stride, const T* a, size_t a_stride, const T* state,
                              size_t state_stride, size_t steps, size_t rows, size_t columns, T* to,
                              size_t stride) {
  ForPanels<T>(0, columns, [&](size_t column, auto vectors) HWY_ATTR {
    for (size_t row = 0; row < rows; row += kTileRows) {
      Tile<T, vectors> tile;
      tile.Clear();
      const T* const scores = s + row * s_stride;
      const size_t full = first + row;  // columns before the diagonal
      if (steps > 0) {
        tile.template MulAdd<false>(a + row * a_stride, a_stride, state + column, state_stride,
                                    steps);
      }
      tile.template MulAdd<false>(scores, s_stride, b + column, b_stride, full);
      tile.template MulAddTriangle<false>(scores + full, s_stride, b + full * b_stride + column,
                                          b_stride);
      tile.Store(to + row * stride + column, stride);
    }
  });
}

// to[0 .. first + rows, columns] += s^T b, b being the block's own rows.
template <class T>
HWY_NOINLINE void AddTransposedScoresTimes(const T* s, size_t s_stride, size_t first, size_t rows,
                                           const T* b, size_t b_stride, size_t columns, T* to,
                                           size_t stride) {
  ForPanels<T>(0, columns, [&](size_t column, auto vectors) HWY_ATTR {
    for (size_t row = 0; row < first + rows; row += kTileRows) {
      Tile<T, vectors> tile;
      T* const at = to + row * stride + column;
      tile.Load(at, stride);
      size_t begin = 0;
      if (row >= first) {
        begin = row - first;
        tile.template MulAddTriangle<true>(s + begin * s_stride + row, s_stride,
                                           b + begin * b_stride + column, b_stride);
        begin += kTileRows;
      }
      tile.template MulAdd<true>(s + begin * s_stride + row, s_stride,
                                 b + begin * b_stride + column, b_stride, rows - begin);
      tile.Store(at, stride);
    }
  });
}

// to[c][r] = from[r][c] for RoundUp(rows, 4) rows.
template <class T>
HWY_NOINLINE void Transpose(const T* from, size_t stride, size_t rows, size_t columns, T* to,
                            size_t to_stride) {
  const Tag<T> d;
  HWY_ALIGN T group[4 * kLanes<T>];
  for (size_t column = 0; column < columns; column += kLanes<T>) {
    const size_t width = std::min(kLanes<T>, columns - column);
    for (size_t row = 0; row < rows; row += 4) {
      const T* const at = from + row * stride + column;
      hn::StoreInterleaved4(hn::Load(d, at), hn::Load(d, at + stride), hn::Load(d, at + 2 * stride),
                            hn::Load(d, at + 3 * stride), d, group);
      for (size_t c = 0; c < width; ++c) {
        std::memcpy(to + (column + c) * to_stride + row, group + 4 * c, 4 * sizeof(T));
      }
    }
  }
}

// sum of x[p] y[p]; n is rounded up to vectors.
template <class T>
HWY_INLINE T Dot(const T* x, const T* y, size_t n) {
  const Tag<T> d;
  auto sum = hn::Zero(d);
  for (size_t p = 0; p < n; p += kLanes<T>) {
    sum = hn::MulAdd(hn::Load(d, x + p), hn::Load(d, y + p), sum);
  }
  return hn::GetLane(hn::SumOfLanes(d, sum));
}

// sum of x[0 .. n), exactly these.
template <class T>
HWY_INLINE T Sum(const T* x, size_t n) {
  const Tag<T> d;
  auto sum = hn::Zero(d);
  size_t p = 0;
  for (; p + kLanes<T> <= n; p += kLanes<T>) sum = hn::Add(sum, hn::Load(d, x + p));
  sum = hn::Add(sum, hn::IfThenElseZero(hn::FirstN(d, n - p), hn::Load(d, x + p)));
  return hn::GetLane(hn::SumOfLanes(d, sum));
}

// to = factor x, n rounded up to vectors.
template <class T>
HWY_INLINE void Scale(const T* x, T factor, size_t n, T* to) {
  const Tag<T> d;
  const auto f = hn::Set(d, factor);
  for (size_t p = 0; p < n; p += kLanes<T>) hn::Store(hn::Mul(f, hn::Load(d, x + p)), d, to + p);
}

// to = factor x, exactly n numbers at any address.
template <class T>
HWY_INLINE void ScaleTo(const T* x, T factor, size_t n, T* to) {
  const Tag<T> d;
  const auto f = hn::Set(d, factor);
  size_t p = 0;
  for (; p + kLanes<T> <= n; p += kLanes<T>) {
    hn::StoreU(hn::Mul(f, hn::Load(d, x + p)), d, to + p);
  }
  for (; p < n; ++p) to[p] = factor * x[p];
}

// to += x, n rounded up to vectors.
template <class T>
HWY_INLINE void AddTo(const T* x, size_t n, T* to) {
  const Tag<T> d;
  for (size_t p = 0; p < n; p += kLanes<T>) {
    hn::Store(hn::Add(hn::Load(d, to + p), hn::Load(d, x + p)), d, to + p);
  }
}

// to = x + y, n rounded up to vectors.
template <class T>
HWY_INLINE void AddInto(const T* x, const T* y, size_t n, T* to) {
  const Tag<T> d;
  for (size_t p = 0; p < n; p += kLanes<T>) {
    hn::Store(hn::Add(hn::Load(d, x + p), hn::Load(d, y + p)), d, to + p);
  }
}

// A token's n numbers as T, zeros up to Padded(n).
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

// phi of n numbers in place; the padding stays 0.
template <class T>
HWY_INLINE void MapFeatures(Features features, size_t n, T* row) {
  const Tag<T> d;
  const auto zero = hn::Zero(d);
  if (features == Features::kRelu) {
    for (size_t p = 0; p < n; p += kLanes<T>) {
      // not the maximum, which would lose a NaN
      const auto x = hn::Load(d, row + p);
      hn::Store(hn::IfThenElse(hn::Lt(x, zero), zero, x), d, row + p);
    }
  } else if (features == Features::kEluPlusOne) {
    for (size_t p = 0; p < n; p += kLanes<T>) {
      const auto x = hn::Load(d, row + p);
      const auto below = hn::IfThenElse(hn::IsNaN(x), x, hn::Exp(d, x));
      const auto above = hn::Add(x, hn::Set(d, T{1}));
      hn::Store(hn::IfThenElse(hn::Gt(x, zero), above, below), d, row + p);
    }
    for (size_t p = n; p < Padded<T>(n); ++p) row[p] = 0;
  }
}

// gradient *= phi', which follows from phi itself.
template <class T>
HWY_INLINE void MulFeatureSlopes(Features features, const T* phi, size_t n, T* gradient) {
  const Tag<T> d;
  const auto zero = hn::Zero(d), one = hn::Set(d, T{1});
  if (features == Features::kIdentity) return;
  for (size_t p = 0; p < n; p += kLanes<T>) {
    const auto x = hn::Load(d, phi + p);
    auto g = hn::Load(d, gradient + p);
    if (features == Features::kRelu) {
      g = hn::IfThenElse(hn::Le(x, zero), zero, g);
    } else {
      g = hn::Mul(g, hn::IfThenElse(hn::Gt(x, one), one, x));
    }
    hn::Store(g, d, gradient + p);
  }
}

// Scratch of one thread: grown, kept, and handed out again from the start for every head, because
// touching fresh memory costs more than the arithmetic.
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

  // Bytes that were asked for last.
  size_t size() const { return used_; }

 private:
  std::vector<std::byte> memory_;
  std::byte* base_ = nullptr;
  size_t used_ = 0;
};

}  // namespace cosdt::attention::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
