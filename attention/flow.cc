#include "attention/flow.h"

#include "attention/linear_core.h"
#include "attention/shapes.h"

namespace cosdt::attention {
namespace {

constexpr double kEps = 1e-6;
const LinearForm kFlowForm{.features = FeatureMap::kIdentity, .normalize = false};

torch::Tensor Dot(const torch::Tensor& x, const torch::Tensor& sums) {
  return ((x + kEps) * (sums + kEps)).sum(-1, true);
}

class FlowState : public AttentionState {
 public:
  explicit FlowState(const Shape& shape)
      : AttentionState(shape), length_(torch::zeros({1, 1, 1}, SumType())) {
    const std::vector<int64_t> widths = {shape.width, shape.width, shape.width, shape.width, 1};
    for (const int64_t width : widths) {
      sums_.push_back(torch::zeros({shape.batch, shape.heads, width}, SumType()));
    }
    sums_.push_back(
        torch::zeros({shape.batch, shape.heads, shape.width, shape.value_width}, SumType()));
  }

  int64_t bytes() const override {
    size_t bytes = length_.nbytes();
    for (const torch::Tensor& sum : sums_) bytes += sum.nbytes();
    return static_cast<int64_t>(bytes);
  }

 private:
  torch::Tensor DoStep(const torch::Tensor& q, const torch::Tensor& k,
                       const torch::Tensor& v) override {
    const torch::ScalarType type = length_.scalar_type();
    const torch::Tensor sink = q.to(type).sigmoid(), source = k.to(type).sigmoid();
    torch::Tensor &sources = sums_[0], &sinks = sums_[1], &balanced_sources = sums_[2],
                  &balanced_sinks = sums_[3], &competitors = sums_[4], &state = sums_[5];
    length_ += 1;
    sources += source;
    sinks += sink;
    const torch::Tensor incoming = Dot(sink, sources), outgoing = Dot(source, sinks);
    balanced_sources += source * (length_ / outgoing);
    balanced_sinks += sink * (length_ / incoming);
    const torch::Tensor gate = (Dot(sink, balanced_sources) / length_).sigmoid();
    const torch::Tensor strength = (Dot(source, balanced_sinks) / length_).clamp(-1.0, 1.0).exp();
    competitors += strength;
    const torch::Tensor value = v.to(type) * (strength / competitors * length_);
    state += source.unsqueeze(-1) * value.unsqueeze(-2);
    const torch::Tensor mixed = torch::matmul((sink / incoming).unsqueeze(-2), state).squeeze(-2);
    return (mixed * gate).to(q.scalar_type());
  }

  torch::Tensor length_;             // [1, 1, 1], in the sums' type
  std::vector<torch::Tensor> sums_;  // named in DoStep
};

}  // namespace

torch::Tensor FlowAttention(Inputs inputs, const ResolvedAttention&) {
  const torch::ScalarType out_type = inputs.q.scalar_type();
  const auto type = inputs.q.options().dtype(SumTypeOf(out_type));
  const int64_t length = inputs.q.size(2);
  torch::Tensor sink = inputs.q.to(type).sigmoid(), source = inputs.k.to(type).sigmoid();
  torch::Tensor real, count;  // [B or 1, 1, L, 1]
  if (inputs.key_mask.defined()) {
    inputs.ClearPadding();
    real = inputs.key_mask.unsqueeze(1).unsqueeze(-1);
    const torch::Tensor zero = torch::zeros({}, type);
    sink = torch::where(real, sink, zero);
    source = torch::where(real, source, zero);
    count = real.to(type).cumsum(2).clamp_min(1);
  } else {
    count = torch::arange(1, length + 1, type).view({1, 1, length, 1});
  }
  const torch::Tensor incoming = Dot(sink, source.cumsum(2));
  const torch::Tensor outgoing = Dot(source, sink.cumsum(2));
  const torch::Tensor gate = (Dot(sink, (source * (count / outgoing)).cumsum(2)) / count).sigmoid();
  torch::Tensor strength =
      (Dot(source, (sink * (count / incoming)).cumsum(2)) / count).clamp(-1.0, 1.0).exp();
  if (real.defined()) strength = torch::where(real, strength, torch::zeros({}, type));
  // before the first real token there is nothing to compete with; e^-1 is the least otherwise
  const torch::Tensor competition = strength / strength.cumsum(2).clamp_min(kEps) * count;
  inputs.q = sink / incoming;
  inputs.k = source;
  inputs.v = inputs.v.to(type) * competition;
  return (CausalLinear(inputs, kFlowForm) * gate).to(out_type);
}

std::unique_ptr<AttentionState> MakeFlowState(const AttentionState::Shape& shape,
                                              const ResolvedAttention&) {
  return std::make_unique<FlowState>(shape);
}

}  // namespace cosdt::attention
