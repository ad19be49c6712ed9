#include "attention/cosformer.h"

#include "attention/linear_core.h"
#include "attention/shapes.h"

namespace cosdt::attention {
namespace {

LinearForm Form(const AttentionOptions& options) {
  TORCH_CHECK_VALUE(options.kind == "cosformer", "attention: kind must be cosformer, found ",
                    options.kind);
  return *FormOf(options);
}

}  // namespace

torch::Tensor CosformerAttention(const torch::Tensor& q, const torch::Tensor& k,
                                 const torch::Tensor& v, const torch::Tensor& key_mask,
                                 const AttentionOptions& options) {
  const Inputs inputs = CheckInputs(q, k, v, key_mask, options);
  return (options.causal ? CausalLinear(inputs, Form(options)) : FullLinear(inputs, Form(options)))
      .reshape(inputs.output_shape);
}

std::unique_ptr<AttentionState> MakeCosformerState(const AttentionState::Shape& shape,
                                                   const AttentionOptions& options) {
  return std::make_unique<LinearState>(shape, Form(options));
}

}  // namespace cosdt::attention
