#include "attention/cosformer.h"

namespace cosdt::attention {

LinearForm CosformerForm(const AttentionOptions& options) {
  return {.features = options.feature_map == "elu" ? FeatureMap::kEluPlusOne : FeatureMap::kRelu,
          .reweight_length = options.reweight ? options.reweight_length : 0,
          .half_life = options.half_life};
}

}  // namespace cosdt::attention
