#include "attention/linear.h"

#include "attention/linear_core.h"
#include "attention/shapes.h"

namespace cosdt::attention {

torch::Tensor LinearAttention(const torch::Tensor& q, const torch::Tensor& k,
                              const torch::Tensor& v, const torch::Tensor& key_mask,
                              const AttentionOptions& options) {
  const Inputs inputs = CheckInputs(q, k, v, key_mask, options);
  const LinearForm form{.features = FeatureMap::kEluPlusOne};
  return (options.causal ? CausalLinear(inputs, form) : FullLinear(inputs, form))
      .reshape(inputs.output_shape);
}

std::unique_ptr<AttentionState> MakeLinearState(const AttentionState::Shape& shape,
                                                const AttentionOptions&) {
  return std::make_unique<LinearState>(shape, LinearForm{.features = FeatureMap::kEluPlusOne});
}

}  // namespace cosdt::attention
