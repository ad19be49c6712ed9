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

// A tile of kTileRows x kTileVectors sums fills the registers except for the operands. It is
// narrow, so that a panel of what it reads fits the first cache and little of it lies beyond a
// diagonal.
#if HWY_MAX_BYTES == 64 || HWY_ARCH_ARM_A64
inline constexpr size_t kTileRows = 12;
#else
inline constexpr size_t kTileRows = 6;
#endif
inline constexpr size_t kTileVectors = 2;
// Scratch has whole tiles of rows for every instruction set.
inline constexpr size_t kRowStep = 12;

// Columns of a panel.
template <class T>
inline constexpr size_t kPanel = kTileVectors * kLanes<T>;

template <class T>
constexpr size_t PanelsOf(size_t columns) {
  return RoundUp(columns, kPanel<T>) / kPanel<T>;
}

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
        sum[r][c] = hn::LoadU(d, from + r * stride + c * kLanes<T>);
      }
    }
  }
  HWY_INLINE void Store(T* HWY_RESTRICT to, size_t stride) const {
    for (size_t r = 0; r < kTileRows; ++r) {
      for (size_t c = 0; c < kVectors; ++c) {
        hn::StoreU(sum[r][c], d, to + r * stride + c * kLanes<T>);
      }
    }
  }
  // Row r is multiplied by factors[r].
  HWY_INLINE void ScaleRows(const T* factors) {
    for (size_t r = 0; r < kTileRows; ++r) {
      const auto factor = hn::Set(d, factors[r]);
      for (size_t c = 0; c < kVectors; ++c) sum[r][c] = hn::Mul(sum[r][c], factor);
    }
  }

  // To row r terms[r] is added.
  HWY_INLINE void AddToRows(const T* terms) {
    for (size_t r = 0; r < kTileRows; ++r) {
      const auto term = hn::Set(d, terms[r]);
      for (size_t c = 0; c < kVectors; ++c) sum[r][c] = hn::Add(sum[r][c], term);
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
      for (size_t c = 0; c < kVectors; ++c) right[c] = hn::LoadU(d, b + c * kLanes<T>);
      for (size_t group = 0; group < kTileRows; group += 3) {
        const T* const left_rows = a + group * row;
        for (size_t r = 0; r < 3; ++r) {
          const auto left = hn::Set(d, left_rows[r * row]);
          for (size_t c = 0; c < kVectors; ++c) {
            sum[group + r][c] = hn::MulAdd(left, right[c], sum[group + r][c]);
          }
        }
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
      for (size_t c = 0; c < kVectors; ++c) right[c] = hn::LoadU(d, b + c * kLanes<T>);
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

// Rows of a matrix.
template <class T>
struct Rows {
  T* data = nullptr;
  size_t stride = 0;

  T* operator[](size_t row) const { return data + row * stride; }
};

// A matrix in panels of kPanel columns, which lie `panel` elements apart: packed, or rows as they
// are.
template <class T>
struct Panels {
  T* data = nullptr;
  size_t panel = 0, stride = 0;

  Panels() = default;
  Panels(T* packed, size_t rows) : data(packed), panel(rows * kPanel<T>), stride(kPanel<T>) {}
  explicit Panels(const Rows<T>& rows) : data(rows.data), panel(kPanel<T>), stride(rows.stride) {}

  // The first of a panel's elements in a row; `column` is a multiple of kPanel.
  T* At(size_t row, size_t column) const {
    return data + column / kPanel<T> * panel + row * stride;
  }
};

// Calls body(column, width constant) for panels, the last of which may be narrower.
template <class T, class Body>
HWY_INLINE void ForPanels(size_t end, const Body& body) {
  size_t column = 0;
  for (; column + kPanel<T> <= end; column += kPanel<T>) {
    body(column, std::integral_constant<size_t, kTileVectors>());
  }
  if (column < end && end - column <= kLanes<T>) {
    body(column, std::integral_constant<size_t, 1>());
  } else if (column < end) {
    body(column, std::integral_constant<size_t, 2>());
  }
}

// What tokens outside a chunk give to the chunk's rows i, from their state:
//   factor_i (tangent_i (a_i . state of the sine) + a_i . state of the cosine),
// or without M factor_i (a_i . state). A part of the state has `steps` rows, and if a_i ends with
// extra_i another one, behind those of all parts.
template <class T>
struct Outside {
  Rows<T> a;
  const T* extra = nullptr;
  Panels<T> state;
  size_t steps = 0;  // 0: nothing
  size_t parts = 1;
  const T* tangent = nullptr;
  const T* factor = nullptr;  // null: 1

  Outside From(size_t row) const {
    Outside x = *this;
    x.a.data = a[row];
    if (extra) x.extra += row;
    if (tangent) x.tangent += row;
    if (factor) x.factor += row;
    return x;
  }
};

template <class T, size_t kVectors>
HWY_INLINE void AddOutside(const Outside<T>& x, size_t row, size_t column,
                           Tile<T, kVectors>& tile) {
  for (size_t part = x.parts; part-- > 0;) {
    tile.template MulAdd<false>(x.a[row], x.a.stride, x.state.At(part * x.steps, column),
                                x.state.stride, x.steps);
    if (x.extra) {
      tile.template MulAdd<true>(x.extra + row, 0, x.state.At(x.parts * x.steps + part, column), 0,
                                 1);
    }
    if (part == 1) tile.ScaleRows(x.tangent + row);
  }
  if (x.factor) tile.ScaleRows(x.factor + row);
}

// to[rows, columns] = x. In all products rows are rounded up to tiles and columns to vectors, for
// which there is room.
template <class T>
HWY_NOINLINE void TakeOutside(const Outside<T>& x, size_t rows, size_t columns, Panels<T> to) {
  ForPanels<T>(columns, [&](size_t column, auto vectors) HWY_ATTR {
    for (size_t row = 0; row < rows; row += kTileRows) {
      Tile<T, vectors> tile;
      tile.Clear();
      AddOutside(x, row, column, tile);
      tile.Store(to.At(row, column), to.stride);
    }
  });
}

// to[begin .. end, columns] = scale to + a^T b over `steps` rows of a and b.
template <class T>
HWY_NOINLINE void AddTransposedTimes(Rows<T> a, Panels<T> b, size_t begin, size_t end,
                                     size_t columns, size_t steps, T scale, Panels<T> to) {
  T scales[kTileRows];
  std::fill_n(scales, kTileRows, scale);
  ForPanels<T>(columns, [&](size_t column, auto vectors) HWY_ATTR {
    for (size_t row = begin; row < end; row += kTileRows) {
      Tile<T, vectors> tile;
      T* const at = to.At(row, column);
      tile.Load(at, to.stride);
      if (scale != 1) tile.ScaleRows(scales);
      tile.template MulAdd<true>(a.data + row, a.stride, b.At(0, column), b.stride, steps);
      tile.Store(at, to.stride);
    }
  });
}

// The rows of a product with scores: factor_i w_ij (a_i . b_j + extra_i).
template <class T>
struct ScoreTerms {
  const T* weights = nullptr;  // w at distance 0, by j - i; null: 1
  const T* extra = nullptr;    // null: 0
  const T* factor = nullptr;   // null: 1
};

// Rows [first, first + rows) of the lower triangle, for a block of rows of a chunk: a, `terms` and
// `to` begin at row `first`.
template <class T>
HWY_NOINLINE void Scores(Rows<T> a, Panels<T> b, size_t first, size_t rows, size_t steps,
                         const ScoreTerms<T>& terms, T* to, size_t stride) {
  const Tag<T> d;
  for (size_t row = 0; row < rows; row += kTileRows) {
    const size_t columns = RoundUp(first + row + kTileRows, kLanes<T>);
    ForPanels<T>(std::min(columns, stride), [&](size_t column, auto vectors) HWY_ATTR {
      Tile<T, vectors> tile;
      tile.Clear();
      tile.template MulAdd<false>(a[row], a.stride, b.At(0, column), b.stride, steps);
      if (terms.extra) tile.AddToRows(terms.extra + row);
      if (terms.weights) {
        const T* const w = terms.weights + column - (first + row);
        for (size_t r = 0; r < kTileRows; ++r) {
          for (size_t c = 0; c < vectors; ++c) {
            tile.sum[r][c] = hn::Mul(tile.sum[r][c],
                                     hn::LoadU(d, w + c * kLanes<T> - static_cast<ptrdiff_t>(r)));
          }
        }
      }
      if (terms.factor) tile.ScaleRows(terms.factor + row);
      tile.Store(to + row * stride + column, stride);
    });
  }
}

// to[rows, columns] = factor_i (s b + outside), s being the block of Scores and b the chunk's rows.
template <class T>
HWY_NOINLINE void ScoresTimes(Rows<T> s, size_t first, Panels<T> b, const Outside<T>& outside,
                              const T* factor, size_t rows, size_t columns, Panels<T> to) {
  ForPanels<T>(columns, [&](size_t column, auto vectors) HWY_ATTR {
    for (size_t row = 0; row < rows; row += kTileRows) {
      Tile<T, vectors> tile;
      tile.Clear();
      if (outside.steps > 0) AddOutside(outside, row, column, tile);
      const size_t full = first + row;  // columns before the diagonal
      tile.template MulAdd<false>(s[row], s.stride, b.At(0, column), b.stride, full);
      tile.template MulAddTriangle<false>(s[row] + full, s.stride, b.At(full, column), b.stride);
      if (factor) tile.ScaleRows(factor + row);
      tile.Store(to.At(row, column), to.stride);
    }
  });
}

// to[0 .. first + rows, columns] += s^T b, b being the block's own rows; with `fresh` a row of `to`
// has no value before the block that it is on the diagonal of.
template <class T>
HWY_NOINLINE void AddTransposedScoresTimes(Rows<T> s, size_t first, size_t rows, Panels<T> b,
                                           size_t columns, bool fresh, Panels<T> to) {
  ForPanels<T>(columns, [&](size_t column, auto vectors) HWY_ATTR {
    for (size_t row = 0; row < first + rows; row += kTileRows) {
      Tile<T, vectors> tile;
      T* const at = to.At(row, column);
      if (fresh && row >= first) {
        tile.Clear();
      } else {
        tile.Load(at, to.stride);
      }
      size_t begin = 0;
      if (row >= first) {
        begin = row - first;
        tile.template MulAddTriangle<true>(s[begin] + row, s.stride, b.At(begin, column), b.stride);
        begin += kTileRows;
      }
      tile.template MulAdd<true>(s[begin] + row, s.stride, b.At(begin, column), b.stride,
                                 rows - begin);
      tile.Store(at, to.stride);
    }
  });
}

// Rows as packed panels.
template <class T>
HWY_NOINLINE void PackPanels(Rows<T> from, size_t rows, size_t columns, Panels<T> to) {
  const Tag<T> d;
  for (size_t row = 0; row < rows; ++row) {
    for (size_t column = 0; column < columns; column += kLanes<T>) {
      const size_t panel = column / kPanel<T> * kPanel<T>;
      hn::StoreU(hn::LoadU(d, from[row] + column), d, to.At(row, panel) + (column - panel));
    }
  }
}

#if HWY_TARGET == HWY_SCALAR
template <class T>
inline constexpr size_t kSquare = 1;

template <class T>
void Transpose(Rows<T> from, size_t n, size_t columns, Panels<T> to) {
  for (size_t row = 0; row < n; ++row) {
    const size_t panel = row / kPanel<T> * kPanel<T>;
    for (size_t c = 0; c < columns; ++c) to.At(c, panel)[row - panel] = from[row][c];
  }
}
#else
// Values of a 128-bit block of a vector: the width of the smallest transposed square.
template <class T>
inline constexpr size_t kSquare = 16 / sizeof(T);

// Blocks of kSquare values at the same column of every kSquare-th row side by side.
template <class T>
HWY_INLINE hn::Vec<Tag<T>> LoadBlocks(const T* const* rows, size_t column) {
  const Tag<T> d;
  auto x = hn::LoadDup128(d, rows[0] + column);
  for (size_t lane = kSquare<T>; lane < kLanes<T>; lane += kSquare<T>) {
    x = hn::IfThenElse(hn::FirstN(d, lane), x, hn::LoadDup128(d, rows[lane] + column));
  }
  return x;
}

// to[c][r] = from[r][c] for n rows, rounded up to vectors by copies of the last one, and columns
// rounded up to kSquare.
template <class T>
HWY_NOINLINE void Transpose(Rows<T> from, size_t n, size_t columns, Panels<T> to) {
  const Tag<T> d;
  for (size_t row = 0; row < n; row += kLanes<T>) {
    const T* rows[kLanes<T>];
    for (size_t r = 0; r < kLanes<T>; ++r) rows[r] = from[std::min(row + r, n - 1)];
    const size_t panel = row / kPanel<T> * kPanel<T>;
    T* at = to.At(0, panel) + (row - panel);
    for (size_t column = 0; column < columns; column += kSquare<T>) {
      const auto a = LoadBlocks(rows, column), b = LoadBlocks(rows + 1, column);
      if constexpr (kSquare<T> == 2) {
        hn::StoreU(hn::InterleaveLower(d, a, b), d, at);
        hn::StoreU(hn::InterleaveUpper(d, a, b), d, at + to.stride);
      } else {
        const auto c = LoadBlocks(rows + 2, column), e = LoadBlocks(rows + 3, column);
        const auto ac = hn::InterleaveLower(d, a, c), be = hn::InterleaveLower(d, b, e);
        hn::StoreU(hn::InterleaveLower(d, ac, be), d, at);
        hn::StoreU(hn::InterleaveUpper(d, ac, be), d, at + to.stride);
        const auto ac2 = hn::InterleaveUpper(d, a, c), be2 = hn::InterleaveUpper(d, b, e);
        hn::StoreU(hn::InterleaveLower(d, ac2, be2), d, at + 2 * to.stride);
        hn::StoreU(hn::InterleaveUpper(d, ac2, be2), d, at + 3 * to.stride);
      }
      at += kSquare<T> * to.stride;
    }
  }
}
#endif

}  // namespace cosdt::attention::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
