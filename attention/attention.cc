#include "attention/attention.h"

#include <utility>

#include "attention/performer.h"
#include "attention/registry.h"
#include "attention/shapes.h"

namespace cosdt::attention {

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

void AttentionState::CheckRows(const std::vector<int64_t>& rows) const {
  for (const int64_t row : rows) {
    TORCH_CHECK_INDEX(row >= 0 && row < shape_.batch, "attention: row must be in [0, ",
                      shape_.batch, "), found ", row);
  }
}

AttentionImpl::AttentionImpl(AttentionOptions options, int64_t width)
    : options_(std::move(options)), width_(width) {
  options_.Validate();
  TORCH_CHECK_VALUE(width >= 1, "attention: width must be at least 1, found ", width);
  reset();
}

void AttentionImpl::reset() {
  if (options_.kind != "performer") return;
  projection_ =
      register_buffer("projection", PerformerProjection(options_.features, width_, options_.seed));
}

void AttentionImpl::pretty_print(std::ostream& stream) const {
  stream << "cosdt::attention::Attention(" << options_.kind;
  if (options_.kind == "cosformer" && options_.reweight) {
    stream << ", reweight_length=" << options_.reweight_length;
  }
  if (options_.kind == "cosformer") stream << ", feature_map=" << options_.feature_map;
  if (options_.kind == "local") stream << ", window=" << options_.window;
  if (options_.kind == "performer") stream << ", features=" << projection_.size(0);
  stream << (options_.causal ? ", causal)" : ", not causal)");
}

torch::Tensor AttentionImpl::forward(const torch::Tensor& q, const torch::Tensor& k,
                                     const torch::Tensor& v, const torch::Tensor& key_mask) {
  return FindAttentionKind(options_.kind).attend(q, k, v, key_mask, options_, projection_);
}

std::unique_ptr<AttentionState> AttentionImpl::MakeState(int64_t batch, int64_t heads,
                                                         int64_t value_width,
                                                         torch::TensorOptions type) const {
  TORCH_CHECK_VALUE(options_.causal, "attention: decoding needs causal options");
  TORCH_CHECK_VALUE(batch >= 1 && heads >= 1 && value_width >= 1,
                    "attention: a state's batch, heads and value_width must be at least 1, found ",
                    batch, ", ", heads, ", ", value_width);
  CheckType("type", c10::typeMetaToScalarType(type.dtype()));
  return FindAttentionKind(options_.kind)
      .make_state({batch, heads, width_, value_width, type}, options_, projection_);
}

void AttentionImpl::Resample(uint64_t seed) {
  TORCH_CHECK_VALUE(options_.kind == "performer", "attention: kind ", options_.kind,
                    " has no random features");
  options_.seed = seed;
  const torch::NoGradGuard no_grad;
  projection_.copy_(PerformerProjection(options_.features, width_, seed));
}

}  // namespace cosdt::attention
