#pragma once

#include <torch/torch.h>

#include <array>
#include <cstdint>
#include <span>

#include "agents/kernels/gemm.h"

namespace cosdt::agents {

// Fully connected networks of one shape, two hidden ReLU layers each, with a backward pass of their
// own: SAC's updates are small, and autograd and scattered parameters cost as much as the
// arithmetic. All parameters lie in one tensor, so that an optimizer is one pass over it. A pass
// takes one member, on memory of the caller's, so that it stays in the cache. float32, on the CPU.
class MlpStack {
 public:
  // Weights and biases of one layer, views of the flat tensor. The last layer is so narrow that it
  // is computed as products of rows.
  struct Layer {
    torch::Tensor
        weight;          // [members, inputs, outputs]; of the last layer [members, outputs, inputs]
    torch::Tensor bias;  // [members, 1, outputs]; of the last layer [members, outputs, 1]
  };
  using Layers = std::array<Layer, 3>;

  // Values of the hidden layers after the ReLU, [rows, hidden] each.
  struct Hidden {
    kernels::Rows layer0, layer1;

    // The rows from `row` on.
    Hidden From(int64_t row) const;
  };

  // Everything is zero at first. Throws std::invalid_argument if `hidden` is no multiple of
  // kernels::kPanel.
  MlpStack(int64_t members, int64_t inputs, int64_t hidden, int64_t outputs);

  // torch.nn.Linear's initialization: weights and biases uniform in +-1 / sqrt(inputs).
  void Initialize(torch::Generator generator);

  // [n], with every matrix beginning at a multiple of 64 bytes; the gaps stay zero.
  const torch::Tensor& parameters() const { return parameters_; }
  const torch::Tensor& gradients() const { return gradients_; }
  const Layers& layers() const { return layers_; }
  const Layers& layer_gradients() const { return layer_gradients_; }

  // Hidden values in `memory`, which grows if it is smaller.
  Hidden HiddenIn(kernels::Floats& memory, int64_t rows) const;

  // inputs [rows, inputs] through one member to outputs [rows, outputs].
  void Forward(int64_t member, kernels::Rows inputs, int64_t rows, const Hidden& hidden,
               kernels::Rows outputs) const;

  // Must be called after the parameters have changed, before the two functions below.
  void PrepareBackward();

  // Writes the gradients of a member's parameters, given those of the outputs [rows, outputs].
  // Overwrites `hidden`. Uses LibTorch's threads; the bits do not depend on their number.
  void Backward(int64_t member, kernels::Rows inputs, int64_t rows, const Hidden& hidden,
                kernels::Rows output_gradients);

  // For a member with one output, whose gradient is `output_gradient` in the rows `chosen`: the
  // gradients of inputs [begin, begin + count), written to the same rows of `to`. Overwrites
  // `scratch`, of as many rows as are chosen.
  void InputGradients(int64_t member, std::span<const int64_t> chosen, const Hidden& hidden,
                      float output_gradient, int64_t begin, int64_t count, const Hidden& scratch,
                      kernels::Rows to) const;

 private:
  // A member's weights and biases.
  struct Pointers {
    std::array<float*, 3> weight, bias;
  };
  static Pointers At(const Layers& layers, int64_t member);

  Layers Views(const torch::Tensor& flat) const;
  const float* Transposed(int64_t member) const {
    return transposed_.data() + member * widths_[1] * widths_[2];
  }

  int64_t members_;
  std::array<int64_t, 4> widths_;  // inputs, hidden, hidden, outputs
  torch::Tensor parameters_, gradients_;
  Layers layers_, layer_gradients_;
  kernels::Floats transposed_;  // [members, hidden, hidden], the weights of layer 1
};

}  // namespace cosdt::agents
