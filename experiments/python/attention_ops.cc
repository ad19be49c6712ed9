// Causal linear attention as operators without side effects, which torch.compile needs;
// attention.py gives them their gradient and their fake tensors.
#include <torch/torch.h>

#include <optional>
#include <tuple>

#include "attention/linear_core.h"
#include "attention/linear_op.h"
#include "attention/shapes.h"

namespace cosdt::python {
namespace {

using torch::Tensor;
using Mask = std::optional<Tensor>;

attention::Inputs Check(const Tensor& q, const Tensor& k, const Tensor& v, const Mask& mask,
                        const attention::LinearForm& form) {
  TORCH_CHECK_VALUE(q.dim() == 4, "attention: q: expected 4 dimensions, found ", q.dim());
  const attention::Inputs inputs =
      attention::CheckInputs(q, k, v, mask.value_or(Tensor()), /*causal=*/true);
  TORCH_CHECK_VALUE(form.reweight_length == 0 || q.size(2) <= form.reweight_length,
                    "attention: expected at most reweight_length = ", form.reweight_length,
                    " tokens, found ", q.size(2));
  TORCH_CHECK_NOT_IMPLEMENTED(attention::HasCausalLinearKernel(inputs.q, inputs.v.size(3), form),
                              "attention: expected a device, "
                              "type and width with kernels, found ",
                              q.device(), ", ", q.scalar_type(), ", widths ", q.size(3), " and ",
                              v.size(3));
  return inputs;
}

attention::LinearForm MakeForm(int64_t features, int64_t reweight_length) {
  return {.features = static_cast<attention::FeatureMap>(features),
          .reweight_length = reweight_length};
}

// Heads lie side by side in a token's row, so that joining them is a view.
std::tuple<Tensor, Tensor> Forward(const Tensor& q, const Tensor& k, const Tensor& v,
                                   const Mask& mask, int64_t features, int64_t reweight_length) {
  const attention::LinearForm form = MakeForm(features, reweight_length);
  const attention::Inputs inputs = Check(q, k, v, mask, form);
  const int64_t batch = q.size(0), heads = q.size(1), length = q.size(2);
  Tensor out = torch::empty({batch, length, heads, v.size(3)}, v.options()).transpose(1, 2);
  Tensor normalizer = torch::empty({batch, heads, length},
                                   q.options().dtype(attention::SumTypeOf(q.scalar_type())));
  attention::CausalLinearForward(inputs, form, out, normalizer);
  return {out, normalizer};
}

std::tuple<Tensor, Tensor, Tensor> Backward(const Tensor& grad, const Tensor& q, const Tensor& k,
                                            const Tensor& v, const Mask& mask, const Tensor& out,
                                            const Tensor& normalizer, int64_t features,
                                            int64_t reweight_length) {
  const attention::LinearForm form = MakeForm(features, reweight_length);
  const attention::Inputs inputs = Check(q, k, v, mask, form);
  const auto like = [](const Tensor& x) {
    return torch::empty(x.sizes(), x.options());  // contiguous
  };
  Tensor grad_q = like(q), grad_k = like(k), grad_v = like(v);
  attention::CausalLinearBackward(grad, inputs, form, out, normalizer, grad_q, grad_k, grad_v);
  return {grad_q, grad_k, grad_v};
}

TORCH_LIBRARY_FRAGMENT(cosdt, library) {
  library.def(
      "causal_attention(Tensor q, Tensor k, Tensor v, Tensor? key_mask, int features, "
      "int reweight_length) -> (Tensor, Tensor)");
  library.def(
      "causal_attention_backward(Tensor grad, Tensor q, Tensor k, Tensor v, Tensor? key_mask, "
      "Tensor out, Tensor normalizer, int features, int reweight_length) -> "
      "(Tensor, Tensor, Tensor)");
}
TORCH_LIBRARY_IMPL(cosdt, CPU, library) {
  library.impl("causal_attention", Forward);
  library.impl("causal_attention_backward", Backward);
}
TORCH_LIBRARY_IMPL(cosdt, CUDA, library) {
  library.impl("causal_attention", Forward);
  library.impl("causal_attention_backward", Backward);
}

}  // namespace
}  // namespace cosdt::python
