#include "attention/softmax.h"

#include <algorithm>
#include <limits>

#include "attention/shapes.h"

namespace cosdt::attention {
namespace {

// What is added to a padded key's score: no weight beside any real key, and yet no NaN where a
// query has none (its output is 0, for padded values are 0).
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
                             shape.type)),
        starts_(shape.batch, 0) {}

  void Reset(const std::vector<int64_t>& rows) override {
    CheckRows(rows);
    for (const int64_t row : rows) starts_[row] = length_;
  }

  std::unique_ptr<AttentionState> Copy() const override {
    auto copy = std::unique_ptr<SoftmaxState>(new SoftmaxState(*this));
    copy->keys_ = keys_.clone();
    copy->values_ = values_.clone();
    return copy;
  }

  int64_t bytes() const override { return static_cast<int64_t>(keys_.nbytes() + values_.nbytes()); }

 private:
  static constexpr int64_t kFirstCapacity = 16;

  torch::Tensor DoStep(const torch::Tensor& q, const torch::Tensor& k,
                       const torch::Tensor& v) override {
    if (length_ == keys_.size(2)) MakeRoom();
    keys_.select(2, length_).copy_(k);
    values_.select(2, length_).copy_(v);
    ++length_;
    const int64_t first = *std::min_element(starts_.begin(), starts_.end());
    std::optional<torch::Tensor> mask;
    if (first != *std::max_element(starts_.begin(), starts_.end())) {
      const auto indices = torch::TensorOptions(torch::kInt64).device(q.device());
      mask = (torch::arange(first, length_, indices) >=
              torch::tensor(starts_, torch::kInt64).to(q.device()).unsqueeze(-1))
                 .view({-1, 1, 1, length_ - first});
    }
    return torch::scaled_dot_product_attention(q.unsqueeze(2),
                                               keys_.narrow(2, first, length_ - first),
                                               values_.narrow(2, first, length_ - first), mask)
        .squeeze(2);
  }

  // Drops what no row needs, and doubles the cache where that is less than half of it.
  void MakeRoom() {
    const int64_t first = *std::min_element(starts_.begin(), starts_.end());
    const int64_t kept = length_ - first;
    const int64_t capacity = kept > length_ / 2 ? 2 * length_ : length_;
    for (torch::Tensor* cache : {&keys_, &values_}) {
      std::vector<int64_t> shape = cache->sizes().vec();
      shape[2] = capacity;
      const torch::Tensor larger = torch::empty(shape, cache->options());
      larger.narrow(2, 0, kept).copy_(cache->narrow(2, first, kept));
      *cache = larger;
    }
    for (int64_t& start : starts_) start -= first;
    length_ = kept;
  }

  torch::Tensor keys_, values_;  // [B, H, capacity, .]
  int64_t length_ = 0;           // tokens in the cache
  std::vector<int64_t> starts_;  // each row's first token in it
};

}  // namespace

torch::Tensor SoftmaxAttention(const torch::Tensor& q, const torch::Tensor& k,
                               const torch::Tensor& v, const torch::Tensor& key_mask,
                               const AttentionOptions& options) {
  Inputs inputs = CheckInputs(q, k, v, key_mask, options);
  inputs.ClearPadding();
  std::optional<torch::Tensor> scores;
  if (inputs.key_mask.defined()) {
    const auto type = inputs.q.options().dtype(SumTypeOf(q.scalar_type()));
    torch::Tensor added = torch::zeros({}, type).masked_fill(
        ~inputs.key_mask.unsqueeze(1).unsqueeze(1), PaddedScore(type.dtype().toScalarType()));
    if (options.causal) {
      const int64_t length = inputs.q.size(2);
      added = added.masked_fill(torch::ones({length, length}, type.dtype(torch::kBool)).triu(1),
                                -std::numeric_limits<double>::infinity());
    }
    scores = added.to(q.scalar_type()).expand({-1, 1, inputs.q.size(2), -1});
  }
  return torch::scaled_dot_product_attention(inputs.q, inputs.k, inputs.v, scores, 0.0,
                                             options.causal && !scores)
      .reshape(inputs.output_shape);
}

std::unique_ptr<AttentionState> MakeSoftmaxState(const AttentionState::Shape& shape,
                                                 const AttentionOptions&) {
  return std::make_unique<SoftmaxState>(shape);
}

}  // namespace cosdt::attention
