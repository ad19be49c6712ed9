// bfloat16 values as vectors of float32. Included once for every instruction set.
#if defined(COSDT_ATTENTION_BFLOAT16_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef COSDT_ATTENTION_BFLOAT16_INL_H_
#undef COSDT_ATTENTION_BFLOAT16_INL_H_
#else
#define COSDT_ATTENTION_BFLOAT16_INL_H_
#endif

#include <hwy/highway.h>

#include <cstdint>

HWY_BEFORE_NAMESPACE();
namespace cosdt::attention::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// D is a tag of floats.
template <class D>
HWY_INLINE hn::Vec<D> LoadBFloat16(D d, const uint16_t* from) {
  const hn::Rebind<uint16_t, D> half;
  const hn::Rebind<uint32_t, D> word;
  return hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(word, hn::LoadU(half, from))));
}

// The bits of v, of which the upper halves are v rounded to the nearest, ties to even. A NaN stays
// one.
template <class D>
HWY_INLINE hn::Vec<hn::Rebind<uint32_t, D>> RoundToBFloat16Bits(D, hn::Vec<D> v) {
  const hn::Rebind<uint32_t, D> word;
  const auto bits = hn::BitCast(word, v);
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(word, 1u));
  const auto rounded = hn::Add(bits, hn::Add(odd, hn::Set(word, 0x7fffu)));
  const auto quiet = hn::Or(bits, hn::Set(word, 0x400000u));
  return hn::IfThenElse(hn::RebindMask(word, hn::IsNaN(v)), quiet, rounded);
}

template <class D>
HWY_INLINE void StoreBFloat16(hn::Vec<D> v, D d, uint16_t* to) {
  const hn::Rebind<int32_t, D> integer;
  const hn::Rebind<uint16_t, D> half;
  hn::StoreU(
      hn::DemoteTo(half, hn::BitCast(integer, hn::ShiftRight<16>(RoundToBFloat16Bits(d, v)))), half,
      to);
}

}  // namespace cosdt::attention::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
