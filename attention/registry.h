#pragma once

#include <memory>
#include <string>
#include <vector>

#include "attention/attention.h"
#include "attention/shapes.h"

namespace cosdt::attention {

// A kind as the module sees it. Functions get options that were validated and inputs
// that were checked.
struct AttentionKind {
  std::string name;
  std::string summary;  // one line for --help
  bool causal_only;
  // The form of a kind that is linear attention on single elements' features; null for others.
  LinearForm (*form)(const AttentionOptions& options);
  // Mixed values [B, H, L, d_v].
  torch::Tensor (*attend)(Inputs inputs, const ResolvedAttention& attention);
  std::unique_ptr<AttentionState> (*make_state)(const AttentionState::Shape& shape,
                                                const ResolvedAttention& attention);
};

// All kinds, cosformer first.
const std::vector<AttentionKind>& AttentionKinds();

// Throws c10::ValueError with the known names if there is no such kind.
const AttentionKind& FindAttentionKind(const std::string& name);

}  // namespace cosdt::attention
