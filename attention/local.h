// Softmax attention in a causal sliding window, the pattern of Longformer (Beltagy et al., arXiv
// 2004.05150, section 3.1) without its global tokens: O(L window) time and memory.
#pragma once

#include "attention/attention.h"

namespace cosdt::attention {

// Token i attends to the options.window tokens i - window + 1 .. i. Shapes and errors:
// AttentionImpl::forward; causal only.
torch::Tensor LocalAttention(const torch::Tensor& q, const torch::Tensor& k, const torch::Tensor& v,
                             const torch::Tensor& key_mask, const AttentionOptions& options);

// A ring of the last `window` keys and values.
std::unique_ptr<AttentionState> MakeLocalState(const AttentionState::Shape& shape,
                                               const AttentionOptions& options);

}  // namespace cosdt::attention
