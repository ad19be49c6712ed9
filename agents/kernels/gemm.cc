// Compiles the products for every instruction set and chooses one at run time.
#include "agents/kernels/gemm.h"

// the sets that the attention kernels leave out, for the same reasons
#define HWY_DISABLED_TARGETS \
  (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV | HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "agents/kernels/gemm.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <cmath>

#include <hwy/contrib/math/math-inl.h>

#include "agents/kernels/gemm_tiles-inl.h"
#include "attention/bfloat16-inl.h"

HWY_BEFORE_NAMESPACE();
namespace cosdt::agents::kernels::HWY_NAMESPACE {

// erf by Abramowitz and Stegun's 7.1.26, within 1.5e-7.
template <class V>
HWY_INLINE V Gelu(V x) {
  const auto z = hn::Mul(hn::Abs(x), hn::Set(kTag, 0.70710678f));
  const auto one = hn::Set(kTag, 1.0f);
  const auto t = hn::Div(one, hn::MulAdd(hn::Set(kTag, 0.3275911f), z, one));
  auto polynomial = hn::Set(kTag, 1.061405429f);
  for (const float c : {-1.453152027f, 1.421413741f, -0.284496736f, 0.254829592f}) {
    polynomial = hn::MulAdd(polynomial, t, hn::Set(kTag, c));
  }
  const auto tail = hn::Mul(hn::Mul(polynomial, t), hn::Exp(kTag, hn::Neg(hn::Mul(z, z))));
  const auto erf = hn::CopySignToAbs(hn::Sub(one, tail), x);
  return hn::Mul(hn::Mul(hn::Set(kTag, 0.5f), x), hn::Add(one, erf));
}

template <class V>
HWY_INLINE V Apply(Epilogue epilogue, V y, const float* to) {
  const auto zero = hn::Zero(kTag);
  switch (epilogue) {
    case Epilogue::kAdd:
      return hn::Add(hn::LoadU(kTag, to), y);
    case Epilogue::kRelu:  // not the maximum, which would lose a NaN
      return hn::IfThenElse(hn::Lt(y, zero), zero, y);
    case Epilogue::kGelu:
      return Gelu(y);
    case Epilogue::kEluPlusOne: {
      const auto below = hn::IfThenElse(hn::IsNaN(y), y, hn::Exp(kTag, hn::Min(y, zero)));
      return hn::IfThenElse(hn::Gt(y, zero), hn::Add(y, hn::Set(kTag, 1.0f)), below);
    }
    case Epilogue::kReluGradient:
      return hn::IfThenElse(hn::Le(hn::LoadU(kTag, to), zero), zero, y);
    case Epilogue::kStore:
      break;
  }
  return y;
}

// to [rows][Pairs(width)]: each row's neighbours, and a 0 behind an odd width.
void Round(Rows from, int64_t rows, int64_t width, Pair* to) {
  for (int64_t row = 0; row < rows; ++row, to += Pairs(width)) {
    auto* const halves = reinterpret_cast<uint16_t*>(to);
    const float* const x = from.data + row * from.stride;
    int64_t i = 0;
    for (; i + kLanes <= width; i += kLanes) {
      attention::HWY_NAMESPACE::StoreBFloat16(hn::LoadU(kTag, x + i), kTag, halves + i);
    }
    if (i == 2 * Pairs(width)) continue;
    float rest[kLanes] = {};
    uint16_t rounded[kLanes];
    std::copy(x + i, x + width, rest);
    attention::HWY_NAMESPACE::StoreBFloat16(hn::LoadU(kTag, rest), kTag, rounded);
    std::copy_n(rounded, 2 * Pairs(width) - i, halves + i);
  }
}

// Rows of values in pairs of one row's neighbours, or of two rows' values.
struct PairRows {
  const Pair* data = nullptr;
  ptrdiff_t row = 0, step = 0;  // from a row to the next one, from a pair to the next one
};

// tile += a b over n pairs, by an instruction that Highway 1.0.3 does not have. b's pairs are
// b_step apart, its panels b_panel.
#if HWY_ARCH_X86_64 && HWY_MAX_BYTES == 64
template <size_t kRows, size_t kPanels>
__attribute__((noinline, target(HWY_TARGET_STR ",avx512bf16"))) void MulAddPairs(
    PairRows a, const Pair* HWY_RESTRICT b, ptrdiff_t b_step, ptrdiff_t b_panel, int64_t n,
    Tile<kRows, kPanels>& tile) {
  static_assert(kPanelVectors == 1);
  __m512 sum[kRows][kPanels];
  for (size_t r = 0; r < kRows; ++r) {
    for (size_t c = 0; c < kPanels; ++c) sum[r][c] = tile.sum[r][c].raw;
  }
  for (int64_t p = 0; p < n; ++p) {
    __m512bh right[kPanels];
    for (size_t c = 0; c < kPanels; ++c) {
      right[c] = (__m512bh)_mm512_loadu_si512(b + p * b_step + static_cast<ptrdiff_t>(c) * b_panel);
    }
    for (size_t r = 0; r < kRows; ++r) {
      const Pair pair = a.data[static_cast<ptrdiff_t>(r) * a.row + p * a.step];
      const auto left = (__m512bh)_mm512_set1_epi32(static_cast<int>(pair));
      for (size_t c = 0; c < kPanels; ++c) {
        sum[r][c] = _mm512_dpbf16_ps(sum[r][c], left, right[c]);
      }
    }
  }
  for (size_t r = 0; r < kRows; ++r) {
    for (size_t c = 0; c < kPanels; ++c) tile.sum[r][c].raw = sum[r][c];
  }
}
#else
template <size_t kRows, size_t kPanels>
void MulAddPairs(PairRows, const Pair*, ptrdiff_t, ptrdiff_t, int64_t, Tile<kRows, kPanels>&) {
  HWY_ABORT("bfloat16 products on a processor without them");
}
#endif

// w in bfloat16.
void GemmPairs(Rows from, int64_t rows, const Packed& w, const float* bias, int64_t begin,
               int64_t end, Epilogue epilogue, Rows to) {
  static thread_local AlignedBuffer<Pair> scratch;
  const int64_t pairs = Pairs(w.inputs);
  scratch.Require(rows * pairs);
  Round(from, rows, w.inputs, scratch.data());
  const ptrdiff_t panel = pairs * kPanel;
  ForTiles(rows, end - begin, [&](int64_t row, auto count, int64_t column, auto panels) HWY_ATTR {
    const int64_t output = begin + column;
    Tile<count, panels> tile;
    tile.Start(bias + output, 0);
    MulAddPairs<count, panels>({scratch.data() + row * pairs, pairs, 1},
                               w.pairs.data() + output / kPanel * panel, kPanel, panel, pairs,
                               tile);
    tile.Store(to.data + row * to.stride + column, to.stride,
               [&](auto y, size_t, const float* at) HWY_ATTR { return Apply(epilogue, y, at); });
  });
}

void Gemm(Rows from, int64_t rows, const Packed& w, const float* bias, int64_t begin, int64_t end,
          Epilogue epilogue, Rows to) {
  if (w.pairs.size() > 0) return GemmPairs(from, rows, w, bias, begin, end, epilogue, to);
  const ptrdiff_t panel = w.inputs * kPanel;
  ForTiles(rows, end - begin, [&](int64_t row, auto count, int64_t column, auto panels) HWY_ATTR {
    const int64_t output = begin + column;
    Tile<count, panels> tile;
    tile.Start(bias + output, 0);
    tile.MulAdd(from.data + row * from.stride, from.stride,
                w.panels.data() + output / kPanel * panel, kPanel, panel, w.inputs);
    tile.Store(to.data + row * to.stride + column, to.stride,
               [&](auto y, size_t, const float* at) HWY_ATTR { return Apply(epilogue, y, at); });
  });
}

void AddTransposedProduct(Rows a, Rows b, int64_t rows, int64_t begin, int64_t end, int64_t columns,
                          Rows to) {
  constexpr int64_t kBlock = 256;  // steps whose values stay in the cache
  for (int64_t first = 0; first < rows; first += kBlock) {
    const int64_t count = std::min(kBlock, rows - first);
    ForTiles(
        end - begin, columns, [&](int64_t i, auto height, int64_t column, auto panels) HWY_ATTR {
          Tile<height, panels> tile;
          float* const at = to.data + (begin + i) * to.stride + column;
          tile.Start(at, to.stride);
          tile.template MulAdd<true>(a.data + first * a.stride + begin + i, a.stride,
                                     b.data + first * b.stride + column, b.stride, kPanel, count);
          tile.Store(at, to.stride, [](auto y, size_t, const float*) HWY_ATTR { return y; });
        });
  }
}

// Rows 2 p and 2 p + 1 as pairs in row p of `to`; a row of zeros follows an odd number of rows.
void PairUpRows(Rows from, int64_t rows, int64_t columns, Pair* to, ptrdiff_t stride) {
  const hn::RebindToUnsigned<FloatTag> tag;
  const auto bits = [](const float* at) HWY_ATTR {
    return attention::HWY_NAMESPACE::RoundToBFloat16Bits(kTag, hn::LoadU(kTag, at));
  };
  const auto pair = [&](const float* first, const float* second, Pair* at) HWY_ATTR {
    hn::StoreU(
        hn::Or(hn::ShiftRight<16>(bits(first)), hn::And(bits(second), hn::Set(tag, 0xffff0000u))),
        tag, at);
  };
  for (int64_t row = 0; row < rows; row += 2, to += stride) {
    const float* const first = from.data + row * from.stride;
    const bool odd = row + 1 == rows;
    int64_t i = 0;
    for (; !odd && i + kLanes <= columns; i += kLanes)
      pair(first + i, first + from.stride + i, to + i);
    for (; i < columns; i += kLanes) {
      float some[2][kLanes] = {};
      Pair pairs[kLanes];
      const int64_t count = std::min<int64_t>(kLanes, columns - i);
      std::copy_n(first + i, count, some[0]);
      if (!odd) std::copy_n(first + from.stride + i, count, some[1]);
      pair(some[0], some[1], pairs);
      std::copy_n(pairs, count, to + i);
    }
  }
}

void AddTransposedProductBFloat16(Rows a, Rows b, int64_t rows, int64_t begin, int64_t end,
                                  int64_t columns, Rows to) {
  constexpr int64_t kBlock = 192;  // steps whose values stay in the cache
  static thread_local AlignedBuffer<Pair> left, right;
  // rows a power of two apart would share few places of the cache
  const int64_t height = end - begin, left_stride = height + kPanel,
                right_stride = columns + kPanel;
  left.Require(Pairs(kBlock) * left_stride);
  right.Require(Pairs(kBlock) * right_stride);
  for (int64_t first = 0; first < rows; first += kBlock) {
    const int64_t count = std::min(kBlock, rows - first);
    PairUpRows({a.data + first * a.stride + begin, a.stride}, count, height, left.data(),
               left_stride);
    PairUpRows({b.data + first * b.stride, b.stride}, count, columns, right.data(), right_stride);
    ForTiles(height, columns, [&](int64_t i, auto tile_rows, int64_t column, auto panels) HWY_ATTR {
      Tile<tile_rows, panels> tile;
      float* const at = to.data + (begin + i) * to.stride + column;
      tile.Start(at, to.stride);
      MulAddPairs<tile_rows, panels>({left.data() + i, 1, left_stride}, right.data() + column,
                                     right_stride, kPanel, Pairs(count), tile);
      tile.Store(at, to.stride, [](auto y, size_t, const float*) HWY_ATTR { return y; });
    });
  }
}

void MulActivationSlopes(Epilogue activation, Rows value, int64_t rows, int64_t columns,
                         Rows gradient) {
  const hn::CappedTag<float, 1> single;
  const auto slope = [&](auto d, auto y) HWY_ATTR {
    const auto one = hn::Set(d, 1.0f), zero = hn::Zero(d);
    if (activation == Epilogue::kRelu) return hn::IfThenElse(hn::Le(y, zero), zero, one);
    return hn::IfThenElse(hn::Gt(y, one), one, y);
  };
  for (int64_t row = 0; row < rows; ++row) {
    const float* const y = value.data + row * value.stride;
    float* const g = gradient.data + row * gradient.stride;
    const auto multiply = [&](auto d, int64_t i) HWY_ATTR {
      hn::StoreU(hn::Mul(hn::LoadU(d, g + i), slope(d, hn::LoadU(d, y + i))), d, g + i);
    };
    int64_t i = 0;
    for (; i + kLanes <= columns; i += kLanes) multiply(kTag, i);
    for (; i < columns; ++i) multiply(single, i);
  }
}

// The rate of MulAddPairs on operands in the first cache.
double BFloat16PeakFlops() {
  using Clock = std::chrono::steady_clock;
  constexpr int64_t kPairs = 64, kRepeats = 2000;
  AlignedBuffer<Pair> left(kTileRows * kPairs), right(kTilePanels * kPanel * kPairs);
  double best = 0;
  for (int turn = 0; turn < 10; ++turn) {
    Tile<kTileRows, kTilePanels> tile;
    tile.Clear();
    const Clock::time_point start = Clock::now();
    for (int64_t i = 0; i < kRepeats; ++i) {
      MulAddPairs<kTileRows, kTilePanels>({left.data(), kPairs, 1}, right.data(), kPanel,
                                          kPairs * kPanel, kPairs, tile);
    }
    const std::chrono::duration<double> seconds = Clock::now() - start;
    constexpr int64_t kFlops = 4 * kRepeats * kPairs * kTileRows * kTilePanels * kPanel;
    best = std::max(best, static_cast<double>(kFlops) / seconds.count());
  }
  return best;
}

void AddColumnSums(Rows x, int64_t rows, int64_t columns, float* sums) {
  int64_t column = 0;
  for (; column + kLanes <= columns; column += kLanes) {
    auto sum = hn::LoadU(kTag, sums + column);
    for (int64_t row = 0; row < rows; ++row) {
      sum = hn::Add(sum, hn::LoadU(kTag, x.data + row * x.stride + column));
    }
    hn::StoreU(sum, kTag, sums + column);
  }
  for (; column < columns; ++column) {
    for (int64_t row = 0; row < rows; ++row) sums[column] += x.data[row * x.stride + column];
  }
}

}  // namespace cosdt::agents::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace cosdt::agents::kernels {

namespace {

// The bits, rounded to the nearest, ties to even. A NaN stays one.
uint32_t RoundToBFloat16(float x) {
  const auto bits = std::bit_cast<uint32_t>(x);
  return (std::isnan(x) ? bits | 0x400000 : bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}

}  // namespace

HWY_EXPORT(Gemm);
HWY_EXPORT(AddTransposedProduct);
HWY_EXPORT(AddTransposedProductBFloat16);
HWY_EXPORT(MulActivationSlopes);
HWY_EXPORT(AddColumnSums);
HWY_EXPORT(BFloat16PeakFlops);

void Gemm(Rows from, int64_t rows, const Packed& w, const float* bias, int64_t begin, int64_t end,
          Epilogue epilogue, Rows to) {
  HWY_DYNAMIC_DISPATCH(Gemm)(from, rows, w, bias, begin, end, epilogue, to);
}

void AddTransposedProduct(Rows a, Rows b, int64_t rows, int64_t begin, int64_t end, int64_t columns,
                          Rows to) {
  HWY_DYNAMIC_DISPATCH(AddTransposedProduct)(a, b, rows, begin, end, columns, to);
}

void AddTransposedProductBFloat16(Rows a, Rows b, int64_t rows, int64_t begin, int64_t end,
                                  int64_t columns, Rows to) {
  HWY_DYNAMIC_DISPATCH(AddTransposedProductBFloat16)(a, b, rows, begin, end, columns, to);
}

void MulActivationSlopes(Epilogue activation, Rows value, int64_t rows, int64_t columns,
                         Rows gradient) {
  HWY_DYNAMIC_DISPATCH(MulActivationSlopes)(activation, value, rows, columns, gradient);
}

void AddColumnSums(Rows x, int64_t rows, int64_t columns, float* sums) {
  HWY_DYNAMIC_DISPATCH(AddColumnSums)(x, rows, columns, sums);
}

void PackWeights(const float* weight, int64_t rows, int64_t columns, bool transposed, bool bfloat16,
                 Packed& to) {
  to.inputs = transposed ? columns : rows;
  const int64_t outputs = transposed ? rows : columns;
  to.outputs = Padded(outputs);
  to.bias.Require(to.outputs);
  const ptrdiff_t step = transposed ? 1 : columns, output_step = transposed ? columns : 1;
  if (bfloat16) {
    to.pairs.Require(Pairs(to.inputs) * to.outputs);
    Pair* pair = to.pairs.data();
    for (int64_t first = 0; first < outputs; first += kPanel) {
      const float* const from = weight + first * output_step;
      const int64_t count = std::min(kPanel, outputs - first);
      for (int64_t i = 0; i < to.inputs; i += 2, pair += kPanel) {
        for (int64_t o = 0; o < count; ++o) {
          const float* const at = from + i * step + o * output_step;
          pair[o] = RoundToBFloat16(at[0]);
          if (i + 1 < to.inputs) pair[o] |= RoundToBFloat16(at[step]) << 16;
        }
      }
    }
    return;
  }
  to.panels.Require(to.inputs * to.outputs);
  float* panel = to.panels.data();
  for (int64_t first = 0; first < outputs; first += kPanel, panel += to.inputs * kPanel) {
    const float* const from = weight + first * output_step;
    const int64_t count = std::min(kPanel, outputs - first);
    for (int64_t i = 0; i < to.inputs; ++i) {
      for (int64_t o = 0; o < count; ++o) panel[i * kPanel + o] = from[i * step + o * output_step];
    }
  }
}

double MeasureBFloat16PeakFlops() {
  return ProcessorHasBFloat16() ? HWY_DYNAMIC_DISPATCH(BFloat16PeakFlops)() : 0;
}

bool ProcessorHasBFloat16() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx512bf16");
#else
  return false;
#endif
}

bool ProcessorHasAmx() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("amx-bf16");
#else
  return false;
#endif
}

bool BFloat16IsFaster() {
#if defined(__x86_64__)
  return ProcessorHasBFloat16() && __builtin_cpu_is("amd");
#else
  return false;
#endif
}

}  // namespace cosdt::agents::kernels
#endif
