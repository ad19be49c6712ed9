// No mixing: every token keeps its own value. The control of sweeps over kinds.
#pragma once

#include "attention/attention.h"

namespace cosdt::attention {

// o_i = v_i, 0 at padded positions. Shapes and errors: AttentionImpl::forward; k must have q's
// length.
torch::Tensor IdentityAttention(const torch::Tensor& q, const torch::Tensor& k,
                                const torch::Tensor& v, const torch::Tensor& key_mask,
                                const AttentionOptions& options);

// Remembers nothing.
std::unique_ptr<AttentionState> MakeIdentityState(const AttentionState::Shape& shape,
                                                  const AttentionOptions& options);

}  // namespace cosdt::attention
