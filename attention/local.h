// Softmax attention in a causal sliding window, the pattern of Longformer (Beltagy et al., arXiv
// 2004.05150, section 3.1) without its global tokens: O(L window) time and memory.
#pragma once

#include "attention/attention.h"
#include "attention/shapes.h"

namespace cosdt::attention {

// Token i attends to the options.window tokens i - window + 1 .. i; causal only.
torch::Tensor LocalAttention(Inputs inputs, const ResolvedAttention& attention);

// A ring of the last `window` keys and values.
std::unique_ptr<AttentionState> MakeLocalState(const AttentionState::Shape& shape,
                                               const ResolvedAttention& attention);

}  // namespace cosdt::attention
