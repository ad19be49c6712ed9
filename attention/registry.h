#pragma once

#include <string>
#include <vector>

#include "attention/attention.h"

namespace cosdt::attention {

// What the module needs to know of a kind. `projection` is performer's and undefined for the
// others.
struct AttentionKind {
  std::string name;
  std::string summary;  // one line for --help
  bool causal_only;
  torch::Tensor (*attend)(const torch::Tensor& q, const torch::Tensor& k, const torch::Tensor& v,
                          const torch::Tensor& key_mask, const AttentionOptions& options,
                          const torch::Tensor& projection);
  std::unique_ptr<AttentionState> (*make_state)(const AttentionState::Shape& shape,
                                                const AttentionOptions& options,
                                                const torch::Tensor& projection);
};

// All kinds, cosformer first.
const std::vector<AttentionKind>& AttentionKinds();

// Throws c10::ValueError with the known names where there is no such kind.
const AttentionKind& FindAttentionKind(const std::string& name);

}  // namespace cosdt::attention
