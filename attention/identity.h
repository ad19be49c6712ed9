// No mixing: every token keeps its own value. The control of sweeps over kinds.
#pragma once

#include "attention/attention.h"
#include "attention/shapes.h"

namespace cosdt::attention {

// o_i = v_i, 0 at padded positions. Throws c10::ValueError if k has another length than q.
torch::Tensor IdentityAttention(Inputs inputs, const ResolvedAttention& attention);

// Remembers nothing.
std::unique_ptr<AttentionState> MakeIdentityState(const AttentionState::Shape& shape,
                                                  const ResolvedAttention& attention);

}  // namespace cosdt::attention
