#pragma once

#include <torch/torch.h>

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "agents/kernels/gemm.h"

namespace cosdt::agents {

// Fully connected networks of one shape with hidden ReLU layers, if wanted each followed by a
// LayerNorm, with a backward pass of their own: updates of actors and critics are small, and
// autograd and scattered parameters cost as much as the arithmetic. All parameters lie in one
// tensor, so that an optimizer is one pass over it. A pass takes one member, on memory of the
// caller's, so that it stays in the cache. float32, on the CPU.
class MlpStack {
 public:
  static constexpr int64_t kMaxHiddenLayers = 4;

  // Weights and biases of one layer, views of the flat tensor. The last layer is so narrow that it
  // is computed as products of rows.
  struct Layer {
    torch::Tensor
        weight;          // [members, inputs, outputs]; of the last layer [members, outputs, inputs]
    torch::Tensor bias;  // [members, 1, outputs]; of the last layer [members, outputs, 1]
    torch::Tensor scale, shift;  // of the LayerNorm, [members, 1, outputs]; undefined without
  };
  using Layers = std::vector<Layer>;

  // Values of the hidden layers [rows, hidden]: after the ReLU, after the LayerNorm if there is
  // one, and its statistics [rows, 2].
  struct Hidden {
    std::array<kernels::Rows, kMaxHiddenLayers> relu, normal, statistics;

    // The rows from `row` on.
    Hidden From(int64_t row) const;
  };

  // Everything is zero at first, but for LayerNorm's scales, which are 1. Throws
  // std::invalid_argument if `hidden` is no multiple of kernels::kPanel, or for more layers than
  // kMaxHiddenLayers.
  MlpStack(int64_t members, int64_t inputs, int64_t hidden, int64_t outputs,
           int64_t hidden_layers = 2, bool layer_norm = false);

  // A stack of the same shape, with parameters of its own.
  MlpStack SameShape() const {
    return {members_, inputs_, hidden_, outputs_, hidden_layers_, layer_norm_};
  }

  // torch.nn.Linear's initialization: weights and biases uniform in +-1 / sqrt(inputs).
  void Initialize(const std::optional<torch::Generator>& generator);

  // EDAC's (arXiv 2110.01548): hidden biases of 0.1, weights and biases of the last layer uniform
  // in
  // +-bound.
  void InitializeAsEdac(double bound, const std::optional<torch::Generator>& generator);

  // [n], with every matrix beginning at a multiple of 64 bytes; the gaps stay zero.
  const torch::Tensor& parameters() const { return parameters_; }
  const torch::Tensor& gradients() const { return gradients_; }
  // Gives the gradients another place, of as many elements.
  void PlaceGradients(const torch::Tensor& flat);
  int64_t members() const { return members_; }
  int64_t outputs() const { return outputs_; }
  const Layers& layers() const { return layers_; }
  const Layers& layer_gradients() const { return layer_gradients_; }

  // Hidden values in `memory`, which grows if it is smaller.
  Hidden HiddenIn(kernels::Floats& memory, int64_t rows) const;

  // inputs [rows, inputs] through one member to outputs [rows, outputs].
  void Forward(int64_t member, kernels::Rows inputs, int64_t rows, const Hidden& hidden,
               kernels::Rows outputs) const;

  // Must be called after the parameters have changed, before the functions below.
  void PrepareBackward();

  // Sets a member's gradients to 0.
  void ZeroGradients(int64_t member);

  // Adds the gradients of a member's parameters, given those of the outputs [rows, outputs].
  // Overwrites `hidden`. Uses LibTorch's threads; the bits do not depend on their number.
  void AddGradients(int64_t member, kernels::Rows inputs, int64_t rows, const Hidden& hidden,
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
    float *weight, *bias, *scale = nullptr, *shift = nullptr;
  };
  static Pointers At(const Layer& layer, int64_t member);

  Layers Views(const torch::Tensor& flat) const;
  int64_t inputs_of(int64_t layer) const { return layer == 0 ? inputs_ : hidden_; }
  // What the layer behind this hidden one reads, and what receives its gradients.
  kernels::Rows OutputsOf(const Hidden& hidden, int64_t layer) const {
    const auto i = static_cast<size_t>(layer);
    return layer_norm_ ? hidden.normal[i] : hidden.relu[i];
  }
  const float* Transposed(int64_t member, int64_t layer) const {
    return transposed_.data() + (member * (hidden_layers_ - 1) + layer - 1) * hidden_ * hidden_;
  }

  int64_t members_, inputs_, hidden_, outputs_, hidden_layers_;
  bool layer_norm_;
  torch::Tensor parameters_, gradients_;
  Layers layers_, layer_gradients_;
  kernels::Floats transposed_;  // [members, hidden_layers - 1, hidden, hidden]: weights
};

}  // namespace cosdt::agents
