// Compiles the products for every instruction set and chooses one at run time.
#include "agents/products.h"

// the sets that the attention kernels leave out, for the same reasons
#define HWY_DISABLED_TARGETS \
  (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV | HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "agents/products.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>

#include <hwy/contrib/math/math-inl.h>

#include "agents/products-inl.h"

HWY_BEFORE_NAMESPACE();
namespace cosdt::agents::products::HWY_NAMESPACE {

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
HWY_INLINE V Apply(Then then, V y, const float* to) {
  const auto zero = hn::Zero(kTag);
  switch (then) {
    case Then::kAdd:
      return hn::Add(hn::LoadU(kTag, to), y);
    case Then::kRelu:  // not the maximum, which would lose a NaN
      return hn::IfThenElse(hn::Lt(y, zero), zero, y);
    case Then::kGelu:
      return Gelu(y);
    case Then::kEluPlusOne:
      return hn::IfThenElse(hn::Gt(y, zero), hn::Add(y, hn::Set(kTag, 1.0f)),
                            hn::Exp(kTag, hn::Min(y, zero)));
    case Then::kStore:
      break;
  }
  return y;
}

void Multiply(Rows from, int64_t rows, const Packed& w, const float* bias, int64_t begin,
              int64_t end, Then then, Rows to) {
  const ptrdiff_t panel = w.inputs * kPanel;
  ForTiles(rows, end - begin, [&](int64_t row, auto count, int64_t column, auto panels) HWY_ATTR {
    const int64_t output = begin + column;
    Tile<count, panels> tile;
    tile.Start(bias + output, 0);
    tile.MulAdd(from.data + row * from.stride, from.stride,
                w.panels.data() + output / kPanel * panel, kPanel, panel, w.inputs);
    tile.Store(to.data + row * to.stride + column, to.stride,
               [&](auto y, size_t, const float* at) HWY_ATTR { return Apply(then, y, at); });
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

}  // namespace cosdt::agents::products::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace cosdt::agents::products {

HWY_EXPORT(Multiply);
HWY_EXPORT(AddTransposedProduct);

void Multiply(Rows from, int64_t rows, const Packed& w, const float* bias, int64_t begin,
              int64_t end, Then then, Rows to) {
  HWY_DYNAMIC_DISPATCH(Multiply)(from, rows, w, bias, begin, end, then, to);
}

void AddTransposedProduct(Rows a, Rows b, int64_t rows, int64_t begin, int64_t end, int64_t columns,
                          Rows to) {
  HWY_DYNAMIC_DISPATCH(AddTransposedProduct)(a, b, rows, begin, end, columns, to);
}

}  // namespace cosdt::agents::products
#endif
