// Tensors as the kernels' Problem has them.
#pragma once

#include <torch/torch.h>

#include <optional>

#include "attention/linear_core.h"
#include "attention/linear_kernels.h"

namespace cosdt::attention {

// A problem's forward pass; `normalizer` is read with form.normalize only. All tensors must outlive
// it and have contiguous rows.
kernels::Problem MakeProblem(const Inputs& inputs, const LinearForm& form, const torch::Tensor& out,
                             const torch::Tensor& normalizer);

// The arrays of its backward pass.
void AddGradients(kernels::Problem& problem, const torch::Tensor& grad_out,
                  const torch::Tensor& grad_q, const torch::Tensor& grad_k,
                  const torch::Tensor& grad_v);

// The operators spell out a form's fields. These wrap functions of inputs and form, of which every
// device's binding has its own, in the operators' signatures (linear_op.cc has the schemas).
LinearForm MakeForm(int64_t features, int64_t reweight_length, bool normalize, double eps,
                    double half_life);
using Mask = std::optional<torch::Tensor>;

using AttendFunction = torch::Tensor(const Inputs& inputs, const LinearForm& form);
using ForwardFunction = void(const Inputs& inputs, const LinearForm& form, torch::Tensor& out,
                             torch::Tensor& normalizer);
using BackwardFunction = void(const torch::Tensor& grad_out, const Inputs& inputs,
                              const LinearForm& form, const torch::Tensor& out,
                              const torch::Tensor& normalizer, torch::Tensor& grad_q,
                              torch::Tensor& grad_k, torch::Tensor& grad_v);

template <AttendFunction* kAttend>
torch::Tensor AttendOperator(const torch::Tensor& q, const torch::Tensor& k, const torch::Tensor& v,
                             const Mask& key_mask, int64_t features, int64_t reweight_length,
                             bool normalize, double eps, double half_life) {
  return kAttend({q, k, v, key_mask.value_or(torch::Tensor()), {}},
                 MakeForm(features, reweight_length, normalize, eps, half_life));
}

template <ForwardFunction* kForward>
void ForwardOperator(const torch::Tensor& q, const torch::Tensor& k, const torch::Tensor& v,
                     const Mask& key_mask, int64_t features, int64_t reweight_length,
                     bool normalize, double eps, double half_life, torch::Tensor& out,
                     torch::Tensor& normalizer) {
  kForward({q, k, v, key_mask.value_or(torch::Tensor()), {}},
           MakeForm(features, reweight_length, normalize, eps, half_life), out, normalizer);
}

template <BackwardFunction* kBackward>
void BackwardOperator(const torch::Tensor& grad_out, const torch::Tensor& q, const torch::Tensor& k,
                      const torch::Tensor& v, const Mask& key_mask, const torch::Tensor& out,
                      const torch::Tensor& normalizer, int64_t features, int64_t reweight_length,
                      bool normalize, double eps, double half_life, torch::Tensor& grad_q,
                      torch::Tensor& grad_k, torch::Tensor& grad_v) {
  kBackward(grad_out, {q, k, v, key_mask.value_or(torch::Tensor()), {}},
            MakeForm(features, reweight_length, normalize, eps, half_life), out, normalizer, grad_q,
            grad_k, grad_v);
}

}  // namespace cosdt::attention
