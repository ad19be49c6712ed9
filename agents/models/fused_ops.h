// The parts of the models' blocks besides attention. Dropout and sums with LayerNorm are fused on
// the CPU, composed of LibTorch's operations elsewhere and in float64.
#pragma once

#include <torch/torch.h>

#include <string>
#include <utility>

namespace cosdt::agents {

// Which elements are dropped, and with them all of dropout's randomness: the same p, key and shape
// drop the same elements, on any device. p is below 1; 0 drops nothing.
struct Dropout {
  double p = 0;
  uint64_t key = 0;
  int64_t first = 0;  // x begins with this sequence of a batch, which several processes share

  // The same with another key, for the layer `i`.
  Dropout For(uint64_t i) const;

  // The key that drops from sequences of as many elements what this one drops from a whole batch:
  // an element's place is added to the key's lower half.
  uint64_t KeyFor(int64_t sequence_elements) const;
};

// x with some elements dropped and the others divided by 1 - p.
torch::Tensor Drop(const torch::Tensor& x, const Dropout& dropout);

// (sum, LayerNorm(sum)) with sum = x + Drop(update). x [.., width] is the residual stream in the
// norm's own type and may be undefined: 0. What is normalised comes in the type of `update`, for
// matrix products in bfloat16 with a residual stream in float32.
std::pair<torch::Tensor, torch::Tensor> AddNorm(const torch::Tensor& x, const torch::Tensor& update,
                                                const Dropout& dropout,
                                                const torch::nn::LayerNorm& norm);

// x weight^T + bias, computed in x's dtype, whatever the parameters' dtype.
torch::Tensor Linear(const torch::Tensor& x, const torch::Tensor& weight,
                     const torch::Tensor& bias);
torch::Tensor Linear(const torch::Tensor& x, const torch::nn::Linear& layer);

// Linear(relu or gelu (with erf) of Linear(x, in), out).
torch::Tensor Mlp(const torch::Tensor& x, const torch::nn::Linear& in, const torch::nn::Linear& out,
                  const std::string& activation);

}  // namespace cosdt::agents
