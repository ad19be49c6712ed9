// The differences between the kinds of linear attention (linear_core.h).
#pragma once

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
};

}  // namespace cosdt::attention
