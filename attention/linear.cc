#include "attention/linear.h"

#include "attention/linear_core.h"

namespace cosdt::attention {

LinearForm EluForm(const AttentionOptions&) { return {.features = FeatureMap::kEluPlusOne}; }

torch::Tensor LinearAttention(Inputs inputs, const ResolvedAttention& attention) {
  return attention.options.causal ? CausalLinear(inputs, *attention.form)
                                  : FullLinear(std::move(inputs), *attention.form);
}

std::unique_ptr<AttentionState> MakeLinearState(const AttentionState::Shape& shape,
                                                const ResolvedAttention& attention) {
  return std::make_unique<LinearState>(shape, *attention.form);
}

}  // namespace cosdt::attention
