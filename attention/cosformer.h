// cosFormer (arXiv 2202.08791, equation 10): w_ij = cos(pi/2 (i - j) / M), phi = ReLU in the paper,
// and ELU + 1 on request.
#pragma once

#include "attention/attention.h"

namespace cosdt::attention {

// o_i = sum_j s_ij v_j / max(sum_j s_ij, 1e-6), s_ij = w_ij (phi(q_i) . phi(k_j)), over j <= i
// where options.causal, over all j otherwise; M is options.reweight_length, and all w_ij are 1
// where options.reweight is off; phi is options.feature_map's. Shapes and errors:
// AttentionImpl::forward; options that are not valid, and lengths over M, throw.
torch::Tensor CosformerAttention(const torch::Tensor& q, const torch::Tensor& k,
                                 const torch::Tensor& v, const torch::Tensor& key_mask,
                                 const AttentionOptions& options);

std::unique_ptr<AttentionState> MakeCosformerState(const AttentionState::Shape& shape,
                                                   const AttentionOptions& options);

}  // namespace cosdt::attention
