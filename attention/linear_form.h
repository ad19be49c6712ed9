// The differences between the kinds of linear attention (linear_core.h).
#pragma once

#include <cmath>
#include <cstdint>

namespace cosdt::attention {

enum class FeatureMap : int64_t {
  kIdentity = 0,  // features were computed before
  kRelu = 1,
  kEluPlusOne = 2,  // x + 1 if x > 0, e^x otherwise
};

struct LinearForm {
  FeatureMap features = FeatureMap::kRelu;
  int64_t reweight_length = 0;  // M; 0: all weights are 1
  bool normalize = true;
  double eps = 1e-6;  // of the normaliser
  // Tokens in which the weights of the first head halve, twice as many for each head after it; 0:
  // weights do not decay.
  double half_life = 0;
};

// By which a head's weights are multiplied per token of distance.
inline double DecayOf(double half_life, int64_t head) {
  return half_life > 0 ? std::exp2(-std::ldexp(1 / half_life, static_cast<int>(-head))) : 1;
}

}  // namespace cosdt::attention
