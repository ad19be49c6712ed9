// Compiles the kernels for every instruction set and chooses one at run time.
#include "agents/kernels/fused_norm.h"

// the sets that the attention kernels leave out, for the same reasons
#define HWY_DISABLED_TARGETS \
  (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV | HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "agents/kernels/fused_norm.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <cmath>

#include "attention/bfloat16-inl.h"

HWY_BEFORE_NAMESPACE();
namespace cosdt::agents::kernels::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// Loads and stores as float32. D is a tag of floats.
template <class D>
HWY_INLINE hn::Vec<D> LoadFloats(D d, const float* from) {
  return hn::LoadU(d, from);
}
template <class D>
HWY_INLINE void StoreFloats(hn::Vec<D> v, D d, float* to) {
  hn::StoreU(v, d, to);
}
template <class D>
HWY_INLINE hn::Vec<D> LoadFloats(D d, const uint16_t* from) {
  return attention::HWY_NAMESPACE::LoadBFloat16(d, from);
}
template <class D>
HWY_INLINE void StoreFloats(hn::Vec<D> v, D d, uint16_t* to) {
  attention::HWY_NAMESPACE::StoreBFloat16(v, d, to);
}

// Calls body(tag, column) for whole vectors, then for single values.
template <class Body>
HWY_INLINE void ForColumns(size_t n, const Body& body) {
  const hn::ScalableTag<float> d;
  size_t j = 0;
  for (; j + hn::Lanes(d) <= n; j += hn::Lanes(d)) body(d, j);
  const hn::CappedTag<float, 1> one;
  for (; j < n; ++j) body(one, j);
}

// The sum of body(tag, column).
template <class Body>
HWY_INLINE float SumColumns(size_t n, const Body& body) {
  const hn::ScalableTag<float> d;
  auto sums = hn::Zero(d);
  size_t j = 0;
  for (; j + hn::Lanes(d) <= n; j += hn::Lanes(d)) sums = hn::Add(sums, body(d, j));
  float sum = hn::GetLane(hn::SumOfLanes(d, sums));
  const hn::CappedTag<float, 1> one;
  for (; j < n; ++j) sum += hn::GetLane(body(one, j));
  return sum;
}

// Highway 1.0.3's Iota writes lane by lane and waits for the stores: ten times the hash's own time.
alignas(64) constexpr uint32_t kLaneIndices[16] = {0, 1, 2,  3,  4,  5,  6,  7,
                                                   8, 9, 10, 11, 12, 13, 14, 15};

class Dropper {
 public:
  explicit Dropper(const DropPattern& drop)
      : active_(drop.p > 0),
        low_(static_cast<uint32_t>(drop.key) + static_cast<uint32_t>(drop.first)),
        high_(static_cast<uint32_t>(drop.key >> 32)),
        threshold_(static_cast<int32_t>(std::lround(drop.p * 2147483647.0)) - 1),
        scale_(static_cast<float>(1 / (1 - drop.p))) {}

  // v, the tensor's elements i, i + 1, .., dropped or scaled
  template <class D>
  HWY_INLINE hn::Vec<D> operator()(D d, hn::Vec<D> v, size_t i) const {
    if (!active_) return v;
    const hn::Rebind<uint32_t, D> word;
    const hn::Rebind<int32_t, D> integer;
    auto bits =
        hn::Add(hn::Load(word, kLaneIndices), hn::Set(word, static_cast<uint32_t>(i) + low_));
    bits = Mix(word, hn::Xor(Mix(word, bits), hn::Set(word, high_)));
    const auto kept =
        hn::Gt(hn::BitCast(integer, hn::ShiftRight<1>(bits)), hn::Set(integer, threshold_));
    return hn::IfThenElseZero(hn::RebindMask(d, kept), hn::Mul(v, hn::Set(d, scale_)));
  }

 private:
  template <class W>
  static HWY_INLINE hn::Vec<W> Mix(W word, hn::Vec<W> x) {
    x = hn::Xor(x, hn::ShiftRight<16>(x));
    x = hn::Mul(x, hn::Set(word, 0x7feb352du));
    x = hn::Xor(x, hn::ShiftRight<15>(x));
    x = hn::Mul(x, hn::Set(word, 0x846ca68bu));
    return hn::Xor(x, hn::ShiftRight<16>(x));
  }

  bool active_;
  uint32_t low_, high_;
  int32_t threshold_;  // of 31 bits: not every set compares unsigned integers
  float scale_;
};

template <class T>
void DropRange(const void* from, const DropPattern& drop, int64_t begin, int64_t end, void* to) {
  const Dropper dropper(drop);
  const T* const in = static_cast<const T*>(from) + begin;
  T* const out = static_cast<T*>(to) + begin;
  ForColumns(end - begin, [&](auto d, size_t j) HWY_ATTR {
    StoreFloats(dropper(d, LoadFloats(d, in + j), begin + j), d, out + j);
  });
}

void DropAny(bool bfloat16, const void* from, const DropPattern& drop, int64_t begin, int64_t end,
             void* to) {
  if (bfloat16) return DropRange<uint16_t>(from, drop, begin, end, to);
  DropRange<float>(from, drop, begin, end, to);
}

template <class T>
void ForwardRows(const AddNorm& op, int64_t begin, int64_t end) {
  const Dropper dropper(op.drop);
  const size_t n = op.width;
  for (int64_t row = begin; row < end; ++row) {
    const size_t at = row * n, element = (op.first_row + row) * n;
    const T* const update = static_cast<const T*>(op.update) + at;
    float* const sum = op.sum + at;
    const float total = SumColumns(n, [&](auto d, size_t j) HWY_ATTR {
      auto v = dropper(d, LoadFloats(d, update + j), element + j);
      if (op.x) v = hn::Add(v, LoadFloats(d, op.x + at + j));
      StoreFloats(v, d, sum + j);
      return v;
    });
    const float mean = total / static_cast<float>(n);
    const float squares = SumColumns(n, [&](auto d, size_t j) HWY_ATTR {
      const auto v = hn::Sub(LoadFloats(d, sum + j), hn::Set(d, mean));
      return hn::Mul(v, v);
    });
    const float inverse =
        1 / std::sqrt(squares / static_cast<float>(n) + static_cast<float>(op.epsilon));
    T* const norm = static_cast<T*>(op.norm) + at;
    ForColumns(n, [&](auto d, size_t j) HWY_ATTR {
      const auto v =
          hn::Mul(hn::Sub(LoadFloats(d, sum + j), hn::Set(d, mean)), hn::Set(d, inverse));
      StoreFloats(hn::MulAdd(v, LoadFloats(d, op.gamma + j), LoadFloats(d, op.beta + j)), d,
                  norm + j);
    });
    op.mean[row] = mean;
    op.inverse_std[row] = inverse;
  }
}

// With n^ the normalised row and g = gamma grad_norm: the gradient of the sum is
//   grad_sum + inverse_std (g - mean(g) - n^ mean(g n^)).
template <class T>
void BackwardRows(const AddNorm& op, const AddNormGradient& gradient, int64_t begin, int64_t end,
                  float* grad_affine) {
  const Dropper dropper(op.drop);
  const size_t n = op.width;
  float* const grad_gamma = grad_affine;
  float* const grad_beta = grad_affine + n;
  for (int64_t row = begin; row < end; ++row) {
    const size_t at = row * n, element = (op.first_row + row) * n;
    const float* const sum = op.sum + at;
    const T* const grad_norm =
        gradient.grad_norm ? static_cast<const T*>(gradient.grad_norm) + at : nullptr;
    const float mean = op.mean[row], inverse = op.inverse_std[row];
    float of_g = 0, of_gn = 0;  // means
    const auto normalized = [&](auto d, size_t j) HWY_ATTR {
      return hn::Mul(hn::Sub(LoadFloats(d, sum + j), hn::Set(d, mean)), hn::Set(d, inverse));
    };
    if (grad_norm) {
      of_gn = SumColumns(n,
                         [&](auto d, size_t j) HWY_ATTR {
                           const auto g = LoadFloats(d, grad_norm + j);
                           const auto product = hn::Mul(g, normalized(d, j));
                           StoreFloats(hn::Add(LoadFloats(d, grad_gamma + j), product), d,
                                       grad_gamma + j);
                           StoreFloats(hn::Add(LoadFloats(d, grad_beta + j), g), d, grad_beta + j);
                           return hn::Mul(product, LoadFloats(d, op.gamma + j));
                         }) /
              static_cast<float>(n);
      of_g = SumColumns(n,
                        [&](auto d, size_t j) HWY_ATTR {
                          return hn::Mul(LoadFloats(d, grad_norm + j), LoadFloats(d, op.gamma + j));
                        }) /
             static_cast<float>(n);
    }
    ForColumns(n, [&](auto d, size_t j) HWY_ATTR {
      auto grad = hn::Zero(d);
      if (grad_norm) {
        const auto g = hn::Mul(LoadFloats(d, grad_norm + j), LoadFloats(d, op.gamma + j));
        grad = hn::Mul(hn::Set(d, inverse), hn::Sub(hn::Sub(g, hn::Set(d, of_g)),
                                                    hn::Mul(normalized(d, j), hn::Set(d, of_gn))));
      }
      if (gradient.grad_sum) grad = hn::Add(grad, LoadFloats(d, gradient.grad_sum + at + j));
      if (gradient.grad_x) StoreFloats(grad, d, gradient.grad_x + at + j);
      StoreFloats(dropper(d, grad, element + j), d, static_cast<T*>(gradient.grad_update) + at + j);
    });
  }
}

void ForwardAny(const AddNorm& op, int64_t begin, int64_t end) {
  if (op.bfloat16) return ForwardRows<uint16_t>(op, begin, end);
  ForwardRows<float>(op, begin, end);
}

void BackwardAny(const AddNorm& op, const AddNormGradient& gradient, int64_t begin, int64_t end,
                 float* grad_affine) {
  if (op.bfloat16) return BackwardRows<uint16_t>(op, gradient, begin, end, grad_affine);
  BackwardRows<float>(op, gradient, begin, end, grad_affine);
}

}  // namespace cosdt::agents::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace cosdt::agents::kernels {

HWY_EXPORT(DropAny);
HWY_EXPORT(ForwardAny);
HWY_EXPORT(BackwardAny);

void Drop(bool bfloat16, const void* from, const DropPattern& drop, int64_t begin, int64_t end,
          void* to) {
  HWY_DYNAMIC_DISPATCH(DropAny)(bfloat16, from, drop, begin, end, to);
}

void FusedAddNorm(const AddNorm& op, int64_t begin, int64_t end) {
  HWY_DYNAMIC_DISPATCH(ForwardAny)(op, begin, end);
}

void FusedAddNormBackward(const AddNorm& op, const AddNormGradient& gradient, int64_t begin,
                          int64_t end, float* grad_affine) {
  HWY_DYNAMIC_DISPATCH(BackwardAny)(op, gradient, begin, end, grad_affine);
}

}  // namespace cosdt::agents::kernels
#endif
