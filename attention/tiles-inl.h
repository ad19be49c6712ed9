// Products of small row-major matrices on registers, from which the kernels of causal linear
// attention are built. Included once for every instruction set.
#if defined(COSDT_ATTENTION_TILES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef COSDT_ATTENTION_TILES_INL_H_
#undef COSDT_ATTENTION_TILES_INL_H_
#else
#define COSDT_ATTENTION_TILES_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "attention/rows-inl.h"

HWY_BEFORE_NAMESPACE();
namespace cosdt::attention::kernels::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// A tile of kTileRows x kTileVectors sums fills the registers except for the operands.
#if HWY_MAX_BYTES == 64 || HWY_ARCH_ARM_A64
inline constexpr size_t kTileRows = 6, kTileVectors = 4;
#else
inline constexpr size_t kTileRows = 6, kTileVectors = 2;
#endif
// Scratch has whole tiles of rows, and whole groups of four for transposing.
inline constexpr size_t kRowStep = 12;

// Sums of kTileRows rows and kVectors vectors.
template <class T, size_t kVectors>
struct Tile {
  static constexpr Tag<T> d{};
  hn::Vec<Tag<T>> sum[kTileRows][kVectors];

  // the compiler's own would not be compiled for the instruction set, which NEON's vectors
  // require
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
  // transposed with step >= row. Elements outside are not read.
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
// without a state if `steps` is 0.
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

}  // namespace cosdt::attention::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
