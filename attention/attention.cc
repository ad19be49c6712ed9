#include "attention/attention.h"

#include <cmath>
#include <utility>

#include "attention/performer.h"
#include "attention/registry.h"
#include "attention/shapes.h"

namespace cosdt::attention {
namespace {

constexpr double kMinHalfLife = 0.5;

}  // namespace

void AttentionOptions::Validate() const {
  const AttentionKind& entry = FindAttentionKind(kind);
  TORCH_CHECK_VALUE(causal || !entry.causal_only, "attention: kind ", kind,
                    " is causal only, found causal = false");
  if (kind == "cosformer" && reweight) {
    TORCH_CHECK_VALUE(
        reweight_length >= 1,
        "attention: reweight_length must be given in tokens and be at least 1, found ",
        reweight_length);
  }
  if (kind == "cosformer") {
    TORCH_CHECK_VALUE(feature_map == "relu" || feature_map == "elu",
                      "attention: feature_map must be relu or elu, found ", feature_map);
    TORCH_CHECK_VALUE(half_life == 0 || (half_life >= kMinHalfLife && std::isfinite(half_life)),
                      "attention: half_life must be 0 or at least ", kMinHalfLife,
                      " tokens, found ", half_life);
    TORCH_CHECK_VALUE(causal || half_life == 0,
                      "attention: half_life needs causal options, found causal = false");
  }
  if (kind == "local") {
    TORCH_CHECK_VALUE(window >= 1, "attention: window must be at least 1, found ", window);
  }
  if (kind == "performer") {
    TORCH_CHECK_VALUE(features >= 0,
                      "attention: features must be positive, or 0 for d ln d, found ", features);
  }
}

torch::Tensor AttentionState::Step(const torch::Tensor& q, const torch::Tensor& k,
                                   const torch::Tensor& v) {
  const torch::NoGradGuard no_grad;
  const Shape& s = shape_;
  CheckToken("q", q, {s.batch, s.heads, s.width}, s.type);
  CheckToken("k", k, {s.batch, s.heads, s.width}, s.type);
  CheckToken("v", v, {s.batch, s.heads, s.value_width}, s.type);
  return DoStep(q, k, v);
}

torch::TensorOptions AttentionState::SumType() const {
  return shape_.type.dtype(SumTypeOf(c10::typeMetaToScalarType(shape_.type.dtype())));
}

AttentionImpl::AttentionImpl(AttentionOptions options, int64_t width)
    : attention_{(options.Validate(), std::move(options))},
      kind_(&FindAttentionKind(attention_.options.kind)),
      width_(width) {
  TORCH_CHECK_VALUE(width >= 1, "attention: width must be at least 1, found ", width);
  if (kind_->form) attention_.form = kind_->form(attention_.options);
  reset();
}

void AttentionImpl::reset() {
  const AttentionOptions& o = attention_.options;
  if (o.kind != "performer") return;
  attention_.projection =
      register_buffer("projection", PerformerProjection(o.features, width_, o.seed));
}

void AttentionImpl::pretty_print(std::ostream& stream) const {
  const AttentionOptions& o = attention_.options;
  stream << "cosdt::attention::Attention(" << o.kind;
  if (o.kind == "cosformer" && o.reweight) stream << ", reweight_length=" << o.reweight_length;
  if (o.kind == "cosformer") stream << ", feature_map=" << o.feature_map;
  if (o.kind == "cosformer" && o.half_life > 0) stream << ", half_life=" << o.half_life;
  if (o.kind == "local") stream << ", window=" << o.window;
  if (o.kind == "performer") stream << ", features=" << attention_.projection.size(0);
  stream << (o.causal ? ", causal)" : ", not causal)");
}

torch::Tensor AttentionImpl::forward(const torch::Tensor& q, const torch::Tensor& k,
                                     const torch::Tensor& v, const torch::Tensor& key_mask) {
  Inputs inputs = CheckInputs(q, k, v, key_mask, attention_.options.causal);
  const std::vector<int64_t> shape = inputs.output_shape;
  return kind_->attend(std::move(inputs), attention_).reshape(shape);
}

std::unique_ptr<AttentionState> AttentionImpl::MakeState(int64_t batch, int64_t heads,
                                                         int64_t value_width,
                                                         torch::TensorOptions type) const {
  TORCH_CHECK_VALUE(attention_.options.causal, "attention: decoding needs causal options");
  TORCH_CHECK_VALUE(batch >= 1 && heads >= 1 && value_width >= 1,
                    "attention: a state's batch, heads and value_width must be at least 1, found ",
                    batch, ", ", heads, ", ", value_width);
  CheckType("type", c10::typeMetaToScalarType(type.dtype()));
  return kind_->make_state({batch, heads, width_, value_width, type}, attention_);
}

}  // namespace cosdt::attention
