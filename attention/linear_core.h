// The base of cosformer, linear, performer and flow: attention whose weights are
//   s_ij = w_ij (phi(q_i) . phi(k_j)),   w_ij = lambda^(i - j) cos(pi/2 (i - j) / M)
//   (without M the cosine is 1, without a half-life the head's decay lambda)
//   o_i = sum_j s_ij v_j / max(sum_j s_ij, eps)   (or the sum alone without normalisation)
// with phi on single elements. The cosine splits into two feature sets,
// cos(a - b) = cos a cos b + sin a sin b, so that sums over j are states of fixed size.
#pragma once

#include <torch/torch.h>

#include "attention/attention.h"
#include "attention/linear_form.h"
#include "attention/shapes.h"

namespace cosdt::attention {

// Causal attention [B, H, L, d_v]: the kernels of the inputs' device (linear_op.h), or
// CausalLinearComposed if it has none. Throws c10::ValueError for lengths over M.
torch::Tensor CausalLinear(const Inputs& inputs, const LinearForm& form);

// The same in LibTorch's operations, which kernels are checked against: any device and
// type, differentiable any number of times. One product of all queries and keys up to 512 tokens,
// chunks with a state between them beyond.
torch::Tensor CausalLinearComposed(Inputs inputs, const LinearForm& form);

// Without the causal limit; positions of queries and of keys both count from 0.
torch::Tensor FullLinear(Inputs inputs, const LinearForm& form);

// phi, element by element.
torch::Tensor ApplyFeatureMap(const torch::Tensor& x, FeatureMap features);

// Decoding: constant memory, features kept at absolute positions, so that nothing is rotated and no
// rounding error builds up from step to step.
class LinearState : public AttentionState {
 public:
  LinearState(const Shape& shape, const LinearForm& form);

  // For features that are computed before: they are feature_width wide.
  LinearState(const Shape& shape, const LinearForm& form, int64_t feature_width);

  int64_t bytes() const override;

 protected:
  torch::Tensor DoStep(const torch::Tensor& q, const torch::Tensor& k,
                       const torch::Tensor& v) override;

 private:
  LinearForm form_;
  torch::Tensor sums_;         // [B H, parts d, d_v] of phi(k) v^T, parts 2 with M and 1 without
  torch::Tensor normalizers_;  // [B H, parts d] of phi(k)
  torch::Tensor decays_;       // [B H, 1] per token; undefined without
  int64_t length_ = 0;         // tokens so far
};

}  // namespace cosdt::attention
