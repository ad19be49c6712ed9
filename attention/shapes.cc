#include "attention/shapes.h"

#include <utility>

namespace cosdt::attention {
namespace {

torch::Tensor FoldBatch(const torch::Tensor& x) {
  if (x.dim() == 2) return x.unsqueeze(0).unsqueeze(0);
  if (x.dim() == 3) return x.unsqueeze(0);
  return x.dim() == 4 ? x : x.flatten(0, -4);
}

// [.., heads] of x, which is [.., heads, L, d]
torch::IntArrayRef Leading(const torch::Tensor& x) { return x.sizes().slice(0, x.dim() - 2); }

void CheckSameLeading(const char* name, const torch::Tensor& x, const torch::Tensor& q) {
  TORCH_CHECK_VALUE(x.dim() == q.dim() && Leading(x) == Leading(q), "attention: ", name,
                    " must have q's batch and heads ", Leading(q), ", found shape ", x.sizes());
}

}  // namespace

void Inputs::ClearPadding() {
  if (!key_mask.defined()) return;
  const torch::Tensor real = key_mask.unsqueeze(1).unsqueeze(-1);
  k = torch::where(real, k, torch::zeros({}, k.options()));
  v = torch::where(real, v, torch::zeros({}, v.options()));
}

void CheckType(const char* name, torch::ScalarType type) {
  TORCH_CHECK_TYPE(type == torch::kFloat32 || type == torch::kBFloat16 || type == torch::kFloat64,
                   "attention: ", name, " must be float32, bfloat16 or float64, found ", type);
}

Inputs CheckInputs(const torch::Tensor& q, const torch::Tensor& k, const torch::Tensor& v,
                   const torch::Tensor& key_mask, bool causal) {
  for (const auto& [name, x] : {std::pair{"q", q}, {"k", k}, {"v", v}}) {
    TORCH_CHECK_VALUE(x.defined(), "attention: ", name, " must be a tensor, found none");
    TORCH_CHECK_VALUE(x.dim() >= 2, "attention: ", name, " must be [.., heads, L, d], found shape ",
                      x.sizes());
    TORCH_CHECK_VALUE(x.numel() > 0, "attention: ", name, " must not be empty, found shape ",
                      x.sizes());
    CheckType(name, x.scalar_type());
    TORCH_CHECK_TYPE(x.scalar_type() == q.scalar_type(), "attention: ", name,
                     " must have q's type ", q.scalar_type(), ", found ", x.scalar_type());
    TORCH_CHECK_VALUE(x.device() == q.device(), "attention: ", name, " must be on q's device ",
                      q.device(), ", found ", x.device());
  }
  CheckSameLeading("k", k, q);
  CheckSameLeading("v", v, q);
  TORCH_CHECK_VALUE(k.size(-1) == q.size(-1), "attention: k must have q's width ", q.size(-1),
                    ", found shape ", k.sizes());
  TORCH_CHECK_VALUE(v.size(-2) == k.size(-2), "attention: v must have k's length ", k.size(-2),
                    ", found shape ", v.sizes());
  TORCH_CHECK_VALUE(!causal || k.size(-2) == q.size(-2),
                    "attention: causal attention needs k of q's length ", q.size(-2),
                    ", found shape ", k.sizes());
  Inputs inputs{FoldBatch(q), FoldBatch(k), FoldBatch(v), {}, q.sizes().vec()};
  inputs.output_shape.back() = v.size(-1);
  if (key_mask.defined()) {
    std::vector<int64_t> expected = k.sizes().vec();
    expected.pop_back();
    if (k.dim() > 2) expected.erase(expected.end() - 2);
    TORCH_CHECK_TYPE(key_mask.scalar_type() == torch::kBool,
                     "attention: key_mask must be boolean, found ", key_mask.scalar_type());
    TORCH_CHECK_VALUE(key_mask.sizes() == torch::IntArrayRef(expected),
                      "attention: key_mask must be [.., L_k] = ", torch::IntArrayRef(expected),
                      ", found shape ", key_mask.sizes());
    TORCH_CHECK_VALUE(key_mask.device() == q.device(), "attention: key_mask must be on q's device ",
                      q.device(), ", found ", key_mask.device());
    inputs.key_mask = key_mask.reshape({inputs.k.size(0), inputs.k.size(2)});
  }
  return inputs;
}

void CheckToken(const char* name, const torch::Tensor& token, torch::IntArrayRef shape,
                const torch::TensorOptions& type) {
  TORCH_CHECK_VALUE(token.defined() && token.sizes() == shape, "attention: the token's ", name,
                    " must be ", shape, ", found ",
                    token.defined() ? c10::str("shape ", token.sizes()) : "none");
  TORCH_CHECK_TYPE(token.dtype() == type.dtype(), "attention: the token's ", name, " must be ",
                   type.dtype(), ", found ", token.dtype());
  TORCH_CHECK_VALUE(token.device().type() == type.device().type(), "attention: the token's ", name,
                    " must be on ", type.device(), ", found ", token.device());
}

torch::ScalarType SumTypeOf(torch::ScalarType type) {
  return type == torch::kFloat64 ? torch::kFloat64 : torch::kFloat32;
}

}  // namespace cosdt::attention
