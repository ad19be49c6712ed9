// Softmax attention, LibTorch's scaled dot product: the kind that the others are compared with.
#pragma once

#include "attention/attention.h"

namespace cosdt::attention {

// softmax(q k^T / sqrt(d)) v. Shapes and errors: AttentionImpl::forward.
torch::Tensor SoftmaxAttention(const torch::Tensor& q, const torch::Tensor& k,
                               const torch::Tensor& v, const torch::Tensor& key_mask,
                               const AttentionOptions& options);

// A cache of all keys and values: memory and time a step grow with the tokens since the oldest
// row's reset.
std::unique_ptr<AttentionState> MakeSoftmaxState(const AttentionState::Shape& shape,
                                                 const AttentionOptions& options);

}  // namespace cosdt::attention
