#include "attention/local.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "attention/shapes.h"

namespace cosdt::attention {
namespace {

class LocalState : public AttentionState {
 public:
  LocalState(const Shape& shape, int64_t window)
      : AttentionState(shape),
        keys_(torch::zeros({shape.batch, shape.heads, window, shape.width}, shape.type)),
        values_(torch::zeros({shape.batch, shape.heads, window, shape.value_width}, shape.type)) {}

  int64_t bytes() const override { return static_cast<int64_t>(keys_.nbytes() + values_.nbytes()); }

 private:
  torch::Tensor DoStep(const torch::Tensor& q, const torch::Tensor& k,
                       const torch::Tensor& v) override {
    const int64_t window = keys_.size(2);
    const int64_t place = length_ % window;
    keys_.select(2, place).copy_(k);
    values_.select(2, place).copy_(v);
    ++length_;
    std::optional<torch::Tensor> mask;
    if (length_ < window) {
      const auto indices = torch::TensorOptions(torch::kInt64).device(q.device());
      mask = (torch::arange(window, indices) < length_).view({1, 1, 1, window});
    }
    return torch::scaled_dot_product_attention(q.unsqueeze(2), keys_, values_, mask).squeeze(2);
  }

  torch::Tensor keys_, values_;  // [B, H, window, .]
  int64_t length_ = 0;           // tokens so far
};

}  // namespace

torch::Tensor LocalAttention(Inputs inputs, const ResolvedAttention& attention) {
  inputs.ClearPadding();
  const torch::ScalarType type = inputs.q.scalar_type(), sum_type = SumTypeOf(type);
  const int64_t length = inputs.q.size(2);
  const int64_t block = std::min(attention.options.window, length);
  const int64_t padding = (block - length % block) % block;
  const auto blocks = [&](const torch::Tensor& x) {
    return torch::constant_pad_nd(x, {0, 0, 0, padding}).unflatten(2, {-1, block}).to(sum_type);
  };
  // every block of queries sees its own block of keys and the one before it
  const auto with_previous = [](const torch::Tensor& x) {
    const int64_t n = x.size(2);
    const torch::Tensor previous =
        torch::cat({torch::zeros_like(x.narrow(2, 0, 1)), x.narrow(2, 0, n - 1)}, 2);
    return torch::cat({previous, x}, 3);
  };
  const torch::Tensor q_blocks = blocks(inputs.q);
  const int64_t n = q_blocks.size(2);
  torch::Tensor scores =
      torch::matmul(q_blocks, with_previous(blocks(inputs.k)).transpose(-1, -2)) /
      std::sqrt(static_cast<double>(inputs.q.size(-1)));

  const auto indices = torch::TensorOptions(torch::kInt64).device(inputs.q.device());
  const torch::Tensor query = torch::arange(block, 2 * block, indices).unsqueeze(-1);
  const torch::Tensor key = torch::arange(2 * block, indices);
  const torch::Tensor distance = query - key;
  torch::Tensor outside = ((distance < 0) | (distance >= block)).expand({n, -1, -1}).clone();
  outside[0] |= key < block;  // there is none before the first
  if (inputs.key_mask.defined()) {
    // a padded key gets no weight next to a real one, and yet no query is left without any
    const torch::Tensor padded =
        with_previous(blocks((~inputs.key_mask).unsqueeze(1).unsqueeze(-1).to(sum_type)))
            .transpose(-1, -2);
    scores = scores.masked_fill(padded > 0, -std::numeric_limits<float>::max() / 4);
  }
  scores = scores.masked_fill(outside, -std::numeric_limits<double>::infinity());
  return torch::matmul(scores.softmax(-1), with_previous(blocks(inputs.v)))
      .flatten(2, 3)
      .narrow(2, 0, length)
      .to(type);
}

std::unique_ptr<AttentionState> MakeLocalState(const AttentionState::Shape& shape,
                                               const ResolvedAttention& attention) {
  return std::make_unique<LocalState>(shape, attention.options.window);
}

}  // namespace cosdt::attention
