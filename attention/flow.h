// Causal Flow-Attention (Wu et al., Flowformer, ICML 2022, arXiv 2202.06258, section 3): linear
// attention whose sources compete and whose sinks are gated by the flow that they conserve.
#pragma once

#include "attention/attention.h"
#include "attention/shapes.h"

namespace cosdt::attention {

// With phi = sigmoid, all sums over j <= i, n_i the number of real tokens up to i, and 1e-6 added
// to the factors of every inner product for safety:
//   incoming flow of a sink    I_i = phi(q_i) . sum_j phi(k_j)
//   outgoing flow of a source  O_j = phi(k_j) . sum_i phi(q_i)
//   with the other side's flow held at its mean:
//     I'_i = phi(q_i) . sum_j phi(k_j) (n_j / O_j) / n_i
//     O'_j = phi(k_j) . sum_i phi(q_i) (n_i / I_i) / n_j, limited to [-1, 1]
//   competition  c_j = n_j e^O'_j / sum_{l<=j} e^O'_l
//   o_i = sigmoid(I'_i) (phi(q_i) / I_i) . sum_j phi(k_j) (c_j v_j)^T
// Queries have the keys' padding; causal only.
torch::Tensor FlowAttention(Inputs inputs, const ResolvedAttention& attention);

std::unique_ptr<AttentionState> MakeFlowState(const AttentionState::Shape& shape,
                                              const ResolvedAttention& attention);

}  // namespace cosdt::attention
