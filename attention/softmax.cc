#include "attention/softmax.h"

#include <limits>

#include "attention/shapes.h"

namespace cosdt::attention {
namespace {

// Added to a padded key's score: no weight next to any real key, and yet no NaN if a query
// has none (its output is 0, for padded values are 0).
double PaddedScore(torch::ScalarType type) {
  return type == torch::kFloat64 ? -std::numeric_limits<double>::max() / 4
                                 : -std::numeric_limits<float>::max() / 4;
}

class SoftmaxState : public AttentionState {
 public:
  explicit SoftmaxState(const Shape& shape)
      : AttentionState(shape),
        keys_(torch::empty({shape.batch, shape.heads, kFirstCapacity, shape.width}, shape.type)),
        values_(torch::empty({shape.batch, shape.heads, kFirstCapacity, shape.value_width},
                             shape.type)) {}

  int64_t bytes() const override { return static_cast<int64_t>(keys_.nbytes() + values_.nbytes()); }

 private:
  static constexpr int64_t kFirstCapacity = 16;

  torch::Tensor DoStep(const torch::Tensor& q, const torch::Tensor& k,
                       const torch::Tensor& v) override {
    if (length_ == keys_.size(2)) DoubleCapacity();
    keys_.select(2, length_).copy_(k);
    values_.select(2, length_).copy_(v);
    ++length_;
    return torch::scaled_dot_product_attention(q.unsqueeze(2), keys_.narrow(2, 0, length_),
                                               values_.narrow(2, 0, length_))
        .squeeze(2);
  }

  void DoubleCapacity() {
    for (torch::Tensor* cache : {&keys_, &values_}) {
      std::vector<int64_t> shape = cache->sizes().vec();
      shape[2] *= 2;
      const torch::Tensor larger = torch::empty(shape, cache->options());
      larger.narrow(2, 0, length_).copy_(*cache);
      *cache = larger;
    }
  }

  torch::Tensor keys_, values_;  // [B, H, capacity, .]
  int64_t length_ = 0;           // tokens in the cache
};

}  // namespace

torch::Tensor SoftmaxAttention(Inputs inputs, const ResolvedAttention& attention) {
  const bool causal = attention.options.causal;
  inputs.ClearPadding();
  std::optional<torch::Tensor> scores;
  if (inputs.key_mask.defined()) {
    const auto type = inputs.q.options().dtype(SumTypeOf(inputs.q.scalar_type()));
    torch::Tensor added = torch::zeros({}, type).masked_fill(
        ~inputs.key_mask.unsqueeze(1).unsqueeze(1), PaddedScore(type.dtype().toScalarType()));
    if (causal) {
      const int64_t length = inputs.q.size(2);
      added = added.masked_fill(torch::ones({length, length}, type.dtype(torch::kBool)).triu(1),
                                -std::numeric_limits<double>::infinity());
    }
    scores = added.to(inputs.q.scalar_type()).expand({-1, 1, inputs.q.size(2), -1});
  }
  return torch::scaled_dot_product_attention(inputs.q, inputs.k, inputs.v, scores, 0.0,
                                             causal && !scores);
}

std::unique_ptr<AttentionState> MakeSoftmaxState(const AttentionState::Shape& shape,
                                                 const ResolvedAttention&) {
  return std::make_unique<SoftmaxState>(shape);
}

}  // namespace cosdt::attention
