// Products of row-major matrices on registers. Included once for every instruction set.
#if defined(COSDT_AGENTS_PRODUCTS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef COSDT_AGENTS_PRODUCTS_INL_H_
#undef COSDT_AGENTS_PRODUCTS_INL_H_
#else
#define COSDT_AGENTS_PRODUCTS_INL_H_
#endif

#include <hwy/highway.h>

#include <type_traits>

#include "agents/kernels/gemm.h"

HWY_BEFORE_NAMESPACE();
namespace cosdt::agents::kernels::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using FloatTag = hn::CappedTag<float, kPanel>;
inline constexpr FloatTag kTag{};
inline constexpr int64_t kLanes = hn::MaxLanes(FloatTag());
inline constexpr size_t kPanelVectors = kPanel / kLanes;

// A tile of kTileRows rows and kTilePanels panels fills the registers except for the operands.
inline constexpr size_t kTileRows = 6;
inline constexpr size_t kTilePanels = HWY_MAX_BYTES == 64 ? 4 : 1;

// Sums of kRows rows and kPanels panels of columns.
template <size_t kRows, size_t kPanels>
struct Tile {
  static constexpr size_t kVectors = kPanels * kPanelVectors;
  hn::Vec<FloatTag> sum[kRows][kVectors];

  HWY_INLINE void Clear() {
    for (size_t r = 0; r < kRows; ++r) {
      for (size_t c = 0; c < kVectors; ++c) sum[r][c] = hn::Zero(kTag);
    }
  }
  // From rows `stride` apart; 0: all from the same.
  HWY_INLINE void Start(const float* from, ptrdiff_t stride) {
    for (size_t r = 0; r < kRows; ++r) {
      for (size_t c = 0; c < kVectors; ++c) {
        sum[r][c] = hn::LoadU(kTag, from + static_cast<ptrdiff_t>(r) * stride + c * kLanes);
      }
    }
  }
  // to = epilogue(sum, row, to)
  template <class Epilogue>
  HWY_INLINE void Store(float* to, ptrdiff_t stride, const Epilogue& epilogue) const {
    for (size_t r = 0; r < kRows; ++r) {
      for (size_t c = 0; c < kVectors; ++c) {
        float* const at = to + static_cast<ptrdiff_t>(r) * stride + c * kLanes;
        hn::StoreU(epilogue(sum[r][c], r, at), kTag, at);
      }
    }
  }
  // += a b over n steps, or a^T b: rows of a, or with kTransposed its steps, are a_stride apart,
  // b's steps b_step and its panels b_panel.
  template <bool kTransposed = false>
  HWY_INLINE void MulAdd(const float* HWY_RESTRICT a, ptrdiff_t a_stride,
                         const float* HWY_RESTRICT b, ptrdiff_t b_step, ptrdiff_t b_panel,
                         int64_t n) {
    for (int64_t p = 0; p < n; ++p) {
      hn::Vec<FloatTag> right[kVectors];
      for (size_t c = 0; c < kVectors; ++c) {
        right[c] = hn::LoadU(kTag, b + static_cast<ptrdiff_t>(c / kPanelVectors) * b_panel +
                                       c % kPanelVectors * kLanes);
      }
      for (size_t r = 0; r < kRows; ++r) {
        const auto left =
            hn::Set(kTag, kTransposed ? a[r] : a[static_cast<ptrdiff_t>(r) * a_stride]);
        for (size_t c = 0; c < kVectors; ++c) sum[r][c] = hn::MulAdd(left, right[c], sum[r][c]);
      }
      a += kTransposed ? a_stride : 1;
      b += b_step;
    }
  }
};

// Calls body(first, constant) for groups of 6, 3 and single rows.
template <class Body>
HWY_INLINE void ForRows(int64_t rows, const Body& body) {
  int64_t row = 0;
  for (; row + 6 <= rows; row += 6) body(row, std::integral_constant<size_t, 6>());
  for (; row + 3 <= rows; row += 3) body(row, std::integral_constant<size_t, 3>());
  for (; row < rows; ++row) body(row, std::integral_constant<size_t, 1>());
}

// Calls body(column, constant) for groups of kTilePanels and single panels.
template <class Body>
HWY_INLINE void ForColumns(int64_t columns, const Body& body) {
  constexpr int64_t kGroup = kTilePanels * kPanel;
  int64_t column = 0;
  for (; column + kGroup <= columns; column += kGroup) {
    body(column, std::integral_constant<size_t, kTilePanels>());
  }
  for (; column < columns; column += kPanel) body(column, std::integral_constant<size_t, 1>());
}

// Calls body(row, constant, column, constant). Columns are the outer loop: their weights stay in
// the cache.
template <class Body>
HWY_INLINE void ForTiles(int64_t rows, int64_t columns, const Body& body) {
  ForColumns(columns, [&](int64_t column, auto panels) HWY_ATTR {
    ForRows(rows, [&](int64_t row, auto count) HWY_ATTR { body(row, count, column, panels); });
  });
}

}  // namespace cosdt::agents::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
