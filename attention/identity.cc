#include "attention/identity.h"

namespace cosdt::attention {
namespace {

class IdentityState : public AttentionState {
 public:
  explicit IdentityState(const Shape& shape) : AttentionState(shape) {}
  int64_t bytes() const override { return 0; }

 private:
  torch::Tensor DoStep(const torch::Tensor&, const torch::Tensor&,
                       const torch::Tensor& v) override {
    return v.clone();
  }
};

}  // namespace

torch::Tensor IdentityAttention(Inputs inputs, const ResolvedAttention&) {
  TORCH_CHECK_VALUE(inputs.q.size(-2) == inputs.k.size(-2),
                    "attention: kind identity needs k of q's length ", inputs.q.size(-2),
                    ", found shape ", inputs.k.sizes());
  inputs.ClearPadding();
  return inputs.v.clone();
}

std::unique_ptr<AttentionState> MakeIdentityState(const AttentionState::Shape& shape,
                                                  const ResolvedAttention&) {
  return std::make_unique<IdentityState>(shape);
}

}  // namespace cosdt::attention
