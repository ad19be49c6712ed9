#include "experiments/bench/token_recurrence.h"

#define HWY_DISABLED_TARGETS \
  (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV | HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "experiments/bench/token_recurrence.cc"
#include <hwy/aligned_allocator.h>
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

HWY_BEFORE_NAMESPACE();
namespace cosdt::experiments::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// A panel of columns whose sums stay in registers; reads the state's rows of both phases once.
template <size_t kVectors>
void Panel(const float* q, const float* k, const float* v, size_t width, size_t columns,
           float* state, float* out) {
  const hn::ScalableTag<float> d;
  const size_t lanes = hn::Lanes(d);
  hn::Vec<decltype(d)> sum[kVectors], value[kVectors];
  for (size_t c = 0; c < kVectors; ++c) {
    sum[c] = hn::Zero(d);
    value[c] = hn::LoadU(d, v + c * lanes);
  }
  for (size_t p = 0; p < 2 * width; ++p) {
    const auto key = hn::Set(d, k[p]), query = hn::Set(d, q[p]);
    for (size_t c = 0; c < kVectors; ++c) {
      float* const at = state + p * columns + c * lanes;
      const auto updated = hn::MulAdd(key, value[c], hn::Load(d, at));
      hn::Store(updated, d, at);
      sum[c] = hn::MulAdd(query, updated, sum[c]);
    }
  }
  for (size_t c = 0; c < kVectors; ++c) hn::StoreU(sum[c], d, out + c * lanes);
}

void Recurrence(const float* q, const float* k, const float* v, size_t length, size_t width,
                size_t value_width, double step, float* out) {
  const size_t lanes = hn::Lanes(hn::ScalableTag<float>());
  const auto state = hwy::AllocateAligned<float>(2 * width * value_width);
  std::fill_n(state.get(), 2 * width * value_width, 0.0f);
  std::vector<float> features(6 * width);
  float* const q_phases = features.data();
  float* const k_phases = q_phases + 2 * width;
  float* const normalizer = k_phases + 2 * width;
  for (size_t t = 0; t < length; ++t) {
    const auto cosine = static_cast<float>(std::cos(step * static_cast<double>(t)));
    const auto sine = static_cast<float>(std::sin(step * static_cast<double>(t)));
    for (size_t p = 0; p < width; ++p) {
      const float query = std::max(0.0f, q[t * width + p]), key = std::max(0.0f, k[t * width + p]);
      q_phases[p] = cosine * query;
      q_phases[width + p] = sine * query;
      k_phases[p] = cosine * key;
      k_phases[width + p] = sine * key;
    }
    float sum = 0;
    for (size_t p = 0; p < 2 * width; ++p) {
      normalizer[p] += k_phases[p];
      sum += q_phases[p] * normalizer[p];
    }
    float* const row = out + t * value_width;
    size_t c = 0;
    for (; c + 4 * lanes <= value_width; c += 4 * lanes) {
      Panel<4>(q_phases, k_phases, v + t * value_width + c, width, value_width, state.get() + c,
               row + c);
    }
    for (; c < value_width; c += lanes) {
      Panel<1>(q_phases, k_phases, v + t * value_width + c, width, value_width, state.get() + c,
               row + c);
    }
    const float factor = 1 / std::max(sum, 1e-6f);
    for (size_t i = 0; i < value_width; ++i) row[i] *= factor;
  }
}

}  // namespace cosdt::experiments::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace cosdt::experiments {
HWY_EXPORT(Recurrence);

void TokenRecurrence(const float* q, const float* k, const float* v, int64_t length, int64_t width,
                     int64_t value_width, int64_t reweight_length, float* out) {
  HWY_DYNAMIC_DISPATCH(Recurrence)
  (q, k, v, static_cast<size_t>(length), static_cast<size_t>(width),
   static_cast<size_t>(value_width), std::numbers::pi / 2 / static_cast<double>(reweight_length),
   out);
}

}  // namespace cosdt::experiments
#endif
