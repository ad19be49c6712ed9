// Arithmetic of single values that the update's kernels share with the CPU.
#pragma once

#include <cmath>
#include <cstdint>

#include "agents/training/update_inputs.h"

namespace cosdt::agents::update_math {

// The pattern of fused_norm.h: value i of an array is dropped, or divided by 1 - p.
class Dropper {
 public:
  COSDT_BOTH Dropper(double p, uint64_t key)
      : low_(static_cast<uint32_t>(key)),
        high_(static_cast<uint32_t>(key >> 32)),
        threshold_(p > 0 ? static_cast<uint32_t>(p * 2147483647.0 + 0.5) : 0),
        scale_(p > 0 ? static_cast<float>(1 / (1 - p)) : 1.0f) {}

  COSDT_BOTH float operator()(float x, int64_t i) const {
    if (threshold_ == 0) return x * scale_;
    const uint32_t bits = Mix(Mix(static_cast<uint32_t>(i) + low_) ^ high_);
    return (bits >> 1) >= threshold_ ? x * scale_ : 0.0f;
  }

 private:
  static COSDT_BOTH uint32_t Mix(uint32_t x) {
    x ^= x >> 16;
    x *= 0x7feb352du;
    x ^= x >> 15;
    x *= 0x846ca68bu;
    return x ^ (x >> 16);
  }

  uint32_t low_, high_, threshold_;
  float scale_;
};

// AdamW's step for one parameter.
struct AdamWScalars {
  float decay, root_correction, rate;  // AdamW::Scalars
  float gradient_scale;

  COSDT_BOTH float operator()(float parameter, float gradient, float& first, float& second) const {
    const float g = gradient * gradient_scale;
    first += 0.1f * (g - first);
    second = second * 0.999f + 0.001f * g * g;
    const float root = sqrtf(second) / root_correction + 1e-8f;
    return parameter * decay - rate * (first / root);
  }
};

// By what a gradient is multiplied so that its norm is at most `clip` (0: any).
COSDT_BOTH double ClipScale(double norm, double clip) {
  return clip > 0 && norm > clip ? clip / (norm + 1e-6) : 1.0;
}

}  // namespace cosdt::agents::update_math
