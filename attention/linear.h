// Linear attention with phi = ELU + 1 (Katharopoulos et al., arXiv 2006.16236, equations 7 and 9).
#pragma once

#include "attention/attention.h"

namespace cosdt::attention {

// o_i = sum_j (phi(q_i) . phi(k_j)) v_j / max(sum_j phi(q_i) . phi(k_j), 1e-6). Shapes and errors:
// AttentionImpl::forward.
torch::Tensor LinearAttention(const torch::Tensor& q, const torch::Tensor& k,
                              const torch::Tensor& v, const torch::Tensor& key_mask,
                              const AttentionOptions& options);

std::unique_ptr<AttentionState> MakeLinearState(const AttentionState::Shape& shape,
                                                const AttentionOptions& options);

}  // namespace cosdt::attention
