#include "attention/registry.h"

#include "attention/cosformer.h"
#include "attention/flow.h"
#include "attention/identity.h"
#include "attention/linear.h"
#include "attention/local.h"
#include "attention/performer.h"
#include "attention/softmax.h"

namespace cosdt::attention {
namespace {

using Make = std::unique_ptr<AttentionState>;
using Shape = AttentionState::Shape;

// Adapts functions without a projection to the table's signature.
template <torch::Tensor (*kAttend)(const torch::Tensor&, const torch::Tensor&, const torch::Tensor&,
                                   const torch::Tensor&, const AttentionOptions&)>
torch::Tensor Attend(const torch::Tensor& q, const torch::Tensor& k, const torch::Tensor& v,
                     const torch::Tensor& key_mask, const AttentionOptions& options,
                     const torch::Tensor&) {
  return kAttend(q, k, v, key_mask, options);
}
template <Make (*kMake)(const Shape&, const AttentionOptions&)>
Make MakeState(const Shape& shape, const AttentionOptions& options, const torch::Tensor&) {
  return kMake(shape, options);
}

}  // namespace

const std::vector<AttentionKind>& AttentionKinds() {
  static const std::vector<AttentionKind> kinds = {
      {"cosformer", "linear attention with cosine weights", false, Attend<CosformerAttention>,
       MakeState<MakeCosformerState>},
      {"softmax", "LibTorch's scaled dot product attention", false, Attend<SoftmaxAttention>,
       MakeState<MakeSoftmaxState>},
      {"linear", "linear attention with ELU + 1 features", false, Attend<LinearAttention>,
       MakeState<MakeLinearState>},
      {"performer", "linear attention with positive orthogonal random features", false,
       PerformerAttention, MakePerformerState},
      {"local", "softmax attention in a sliding window", true, Attend<LocalAttention>,
       MakeState<MakeLocalState>},
      {"flow", "causal Flow-Attention", true, Attend<FlowAttention>, MakeState<MakeFlowState>},
      {"identity", "no mixing: every token keeps its own value (a control)", false,
       Attend<IdentityAttention>, MakeState<MakeIdentityState>},
  };
  return kinds;
}

const AttentionKind& FindAttentionKind(const std::string& name) {
  std::string known;
  for (const AttentionKind& kind : AttentionKinds()) {
    if (kind.name == name) return kind;
    known += (known.empty() ? "" : ", ") + kind.name;
  }
  TORCH_CHECK_VALUE(false, "attention: kind must be one of ", known, ", found \"", name, "\"");
}

}  // namespace cosdt::attention
