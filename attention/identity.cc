#include "attention/identity.h"

#include "attention/shapes.h"

namespace cosdt::attention {
namespace {

class IdentityState : public AttentionState {
 public:
  explicit IdentityState(const Shape& shape) : AttentionState(shape) {}
  void Reset(const std::vector<int64_t>& rows) override { CheckRows(rows); }
  std::unique_ptr<AttentionState> Copy() const override {
    return std::make_unique<IdentityState>(*this);
  }
  int64_t bytes() const override { return 0; }

 private:
  torch::Tensor DoStep(const torch::Tensor&, const torch::Tensor&,
                       const torch::Tensor& v) override {
    return v.clone();
  }
};

}  // namespace

torch::Tensor IdentityAttention(const torch::Tensor& q, const torch::Tensor& k,
                                const torch::Tensor& v, const torch::Tensor& key_mask,
                                const AttentionOptions& options) {
  Inputs inputs = CheckInputs(q, k, v, key_mask, options);
  TORCH_CHECK_VALUE(q.size(-2) == k.size(-2), "attention: kind identity needs k of q's length ",
                    q.size(-2), ", found shape ", k.sizes());
  inputs.ClearPadding();
  return inputs.v.clone().reshape(inputs.output_shape);
}

std::unique_ptr<AttentionState> MakeIdentityState(const AttentionState::Shape& shape,
                                                  const AttentionOptions&) {
  return std::make_unique<IdentityState>(shape);
}

}  // namespace cosdt::attention
