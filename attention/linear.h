// Linear attention by its form; linear attention with phi = ELU + 1 (Katharopoulos et al., arXiv
// 2006.16236, equations 7 and 9) is one of them.
#pragma once

#include "attention/attention.h"
#include "attention/shapes.h"

namespace cosdt::attention {

// o_i = sum_j (phi(q_i) . phi(k_j)) v_j / max(sum_j phi(q_i) . phi(k_j), 1e-6).
LinearForm EluForm(const AttentionOptions& options);

// Attention of a kind with a form. Lengths over the form's M throw c10::ValueError.
torch::Tensor LinearAttention(Inputs inputs, const ResolvedAttention& attention);

std::unique_ptr<AttentionState> MakeLinearState(const AttentionState::Shape& shape,
                                                const ResolvedAttention& attention);

}  // namespace cosdt::attention
