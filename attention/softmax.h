// Softmax attention, LibTorch's scaled dot product: the kind that the others are compared with.
#pragma once

#include "attention/attention.h"
#include "attention/shapes.h"

namespace cosdt::attention {

// softmax(q k^T / sqrt(d)) v.
torch::Tensor SoftmaxAttention(Inputs inputs, const ResolvedAttention& attention);

// A cache of all keys and values: memory and time per step grow with the tokens so far.
std::unique_ptr<AttentionState> MakeSoftmaxState(const AttentionState::Shape& shape,
                                                 const ResolvedAttention& attention);

}  // namespace cosdt::attention
