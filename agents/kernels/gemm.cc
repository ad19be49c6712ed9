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
#include <cstring>

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
    case Epilogue::kEluPlusOne:
      return hn::IfThenElse(hn::Gt(y, zero), hn::Add(y, hn::Set(kTag, 1.0f)),
                            hn::Exp(kTag, hn::Min(y, zero)));
    case Epilogue::kStore:
      break;
  }
  return y;
}

// to [rows][2 Pairs(width)]
void Round(Rows from, int64_t rows, int64_t width, uint16_t* to) {
  const auto round = [](const float* at, uint16_t* rounded) HWY_ATTR {
    attention::HWY_NAMESPACE::StoreBFloat16(hn::LoadU(kTag, at), kTag, rounded);
  };
  for (int64_t row = 0; row < rows; ++row, to += 2 * Pairs(width)) {
    const float* const x = from.data + row * from.stride;
    int64_t i = 0;
    for (; i + kLanes <= width; i += kLanes) round(x + i, to + i);
    if (i == 2 * Pairs(width)) continue;
    float rest[kLanes] = {};
    uint16_t rounded[kLanes];
    std::copy(x + i, x + width, rest);
    round(rest, rounded);
    std::copy_n(rounded, 2 * Pairs(width) - i, to + i);
  }
}

HWY_INLINE Pair LoadPair(const uint16_t* from) {
  Pair pair;
  std::memcpy(&pair, from, sizeof pair);
  return pair;
}

// tile += a b over n pairs. Rows of a are a_stride apart, b's panels b_panel.
template <size_t kRows, size_t kPanels>
HWY_NOINLINE void MulAddPairs(const uint16_t* HWY_RESTRICT a, ptrdiff_t a_stride,
                              const Pair* HWY_RESTRICT b, ptrdiff_t b_panel, int64_t n,
                              Tile<kRows, kPanels>& tile) {
  const hn::RebindToUnsigned<FloatTag> tag;
  const auto upper = hn::Set(tag, 0xffff0000u);
  const auto split = [&](auto pairs, auto& first, auto& second) HWY_ATTR {
    first = hn::BitCast(kTag, hn::ShiftLeft<16>(pairs));
    second = hn::BitCast(kTag, hn::And(pairs, upper));
  };
  Tile<kRows, kPanels> t = tile;
  for (int64_t p = 0; p < n; ++p) {
    for (size_t c = 0; c < t.kVectors; ++c) {
      hn::Vec<FloatTag> right[2], left[2];
      split(hn::LoadU(tag, b + p * kPanel + static_cast<ptrdiff_t>(c / kPanelVectors) * b_panel +
                               c % kPanelVectors * kLanes),
            right[0], right[1]);
      for (size_t r = 0; r < kRows; ++r) {
        split(hn::Set(tag, LoadPair(a + static_cast<ptrdiff_t>(r) * a_stride + 2 * p)), left[0],
              left[1]);
        t.sum[r][c] = hn::MulAdd(left[0], right[0], hn::MulAdd(left[1], right[1], t.sum[r][c]));
      }
    }
  }
  tile = t;
}

// The same in one instruction, which Highway 1.0.3 does not have.
#if HWY_ARCH_X86_64 && HWY_MAX_BYTES == 64
template <size_t kRows, size_t kPanels>
__attribute__((noinline, target(HWY_TARGET_STR ",avx512bf16"))) void DotPairs(
    const uint16_t* HWY_RESTRICT a, ptrdiff_t a_stride, const Pair* HWY_RESTRICT b,
    ptrdiff_t b_panel, int64_t n, Tile<kRows, kPanels>& tile) {
  static_assert(kPanelVectors == 1);
  __m512 sum[kRows][kPanels];
  for (size_t r = 0; r < kRows; ++r) {
    for (size_t c = 0; c < kPanels; ++c) sum[r][c] = tile.sum[r][c].raw;
  }
  for (int64_t p = 0; p < n; ++p) {
    __m512bh right[kPanels];
    for (size_t c = 0; c < kPanels; ++c) {
      right[c] = (__m512bh)_mm512_loadu_si512(b + p * kPanel + static_cast<ptrdiff_t>(c) * b_panel);
    }
    for (size_t r = 0; r < kRows; ++r) {
      const Pair pair = LoadPair(a + static_cast<ptrdiff_t>(r) * a_stride + 2 * p);
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
#endif

// Of w in bfloat16.
void GemmPairs(Rows from, int64_t rows, const Packed& w, const float* bias, int64_t begin,
               int64_t end, Epilogue epilogue, Rows to) {
  static thread_local Numbers<uint16_t> scratch;
  const int64_t pairs = Pairs(w.inputs);
  scratch.Require(rows * 2 * pairs);
  uint16_t* const rounded = scratch.data();
  Round(from, rows, w.inputs, rounded);
  const ptrdiff_t panel = pairs * kPanel;
  ForTiles(rows, end - begin, [&](int64_t row, auto count, int64_t column, auto panels) HWY_ATTR {
    const int64_t output = begin + column;
    Tile<count, panels> tile;
    tile.Start(bias + output, 0);
    auto mul_add = MulAddPairs<count, panels>;
#if HWY_ARCH_X86_64 && HWY_MAX_BYTES == 64
    if (use_bfloat16_instructions) mul_add = DotPairs<count, panels>;
#endif
    mul_add(rounded + row * 2 * pairs, 2 * pairs, w.pairs.data() + output / kPanel * panel, panel,
            pairs, tile);
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
  constexpr int64_t kBlock = 256;  // steps whose numbers stay in the cache
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

}  // namespace cosdt::agents::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace cosdt::agents::kernels {

HWY_EXPORT(Gemm);
HWY_EXPORT(AddTransposedProduct);

void Gemm(Rows from, int64_t rows, const Packed& w, const float* bias, int64_t begin, int64_t end,
          Epilogue epilogue, Rows to) {
  HWY_DYNAMIC_DISPATCH(Gemm)(from, rows, w, bias, begin, end, epilogue, to);
}

void AddTransposedProduct(Rows a, Rows b, int64_t rows, int64_t begin, int64_t end, int64_t columns,
                          Rows to) {
  HWY_DYNAMIC_DISPATCH(AddTransposedProduct)(a, b, rows, begin, end, columns, to);
}

bool use_bfloat16_instructions = ProcessorHasBFloat16();

bool ProcessorHasBFloat16() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx512bf16");
#else
  return false;
#endif
}

}  // namespace cosdt::agents::kernels
#endif
