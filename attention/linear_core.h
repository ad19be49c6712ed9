// What cosformer, linear, performer and flow share: attention whose weights are
//   s_ij = w_ij (phi(q_i) . phi(k_j)),   w_ij = cos(pi/2 (i - j) / M)   (or 1 without M)
//   o_i = sum_j s_ij v_j / max(sum_j s_ij, eps)   (or the sum alone without normalisation)
// with phi on single elements. The cosine splits into two feature sets,
// cos(a - b) = cos a cos b + sin a sin b, so that sums over j are states of fixed size.
#pragma once

#include <torch/torch.h>

#include <memory>
#include <optional>

#include "attention/attention.h"
#include "attention/shapes.h"

namespace cosdt::attention {

enum class FeatureMap : int64_t {
  kIdentity = 0,  // features were computed before
  kRelu = 1,
  kEluPlusOne = 2,  // x + 1 where x > 0, e^x elsewhere
};

struct LinearForm {
  FeatureMap features = FeatureMap::kRelu;
  int64_t reweight_length = 0;  // M; 0: all weights are 1
  bool normalize = true;
  double eps = 1e-6;  // of the normaliser
};

// The form of a kind's causal attention, cosformer's or linear's; nothing for other kinds. Throws
// what options.Validate() throws.
std::optional<LinearForm> FormOf(const AttentionOptions& options);

// Causal attention [B, H, L, d_v]: the kernels of the inputs' device (linear_op.h), or
// CausalLinearComposed where it has none. Throws c10::ValueError for lengths over M.
torch::Tensor CausalLinear(const Inputs& inputs, const LinearForm& form);

// The same in LibTorch's operations, which is what kernels are checked against: any device and
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

  void Reset(const std::vector<int64_t>& rows) override;
  std::unique_ptr<AttentionState> Copy() const override;
  int64_t bytes() const override;

 protected:
  LinearState(const LinearState& other);
  torch::Tensor DoStep(const torch::Tensor& q, const torch::Tensor& k,
                       const torch::Tensor& v) override;

 private:
  LinearForm form_;
  torch::Tensor sums_;            // [B H, parts d, d_v] of phi(k) v^T, parts 2 with M and 1 without
  torch::Tensor normalizers_;     // [B H, parts d] of phi(k)
  std::vector<int64_t> lengths_;  // tokens so far of each row
};

}  // namespace cosdt::attention
