#include "attention/registry.h"

#include "attention/cosformer.h"
#include "attention/flow.h"
#include "attention/identity.h"
#include "attention/linear.h"
#include "attention/local.h"
#include "attention/performer.h"
#include "attention/softmax.h"

namespace cosdt::attention {

const std::vector<AttentionKind>& AttentionKinds() {
  static const std::vector<AttentionKind> kinds = {
      {"cosformer", "linear attention with cosine weights", false, CosformerForm, LinearAttention,
       MakeLinearState},
      {"softmax", "LibTorch's scaled dot product attention", false, nullptr, SoftmaxAttention,
       MakeSoftmaxState},
      {"linear", "linear attention with ELU + 1 features", false, EluForm, LinearAttention,
       MakeLinearState},
      {"performer", "linear attention with positive orthogonal random features", false, nullptr,
       PerformerAttention, MakePerformerState},
      {"local", "softmax attention in a sliding window", true, nullptr, LocalAttention,
       MakeLocalState},
      {"flow", "causal Flow-Attention", true, nullptr, FlowAttention, MakeFlowState},
      {"identity", "no mixing: every token keeps its own value (a control)", false, nullptr,
       IdentityAttention, MakeIdentityState},
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
