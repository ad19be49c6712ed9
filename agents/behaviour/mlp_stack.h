#pragma once

#include <torch/torch.h>

#include <array>
#include <cstdint>

namespace cosdt::agents {

// Fully connected networks of one shape side by side, two hidden ReLU layers each, with a backward
// pass of their own: SAC's updates are small, and autograd and scattered parameters cost as much as
// the arithmetic. All members go through one batched product a layer, and all parameters lie in one
// tensor, so that an optimizer is one pass over it. float32, on the CPU.
class MlpStack {
 public:
  // Weights and biases of one layer, views of the flat tensor. The last layer is so narrow that the
  // product is several times faster with its outputs as rows.
  struct Layer {
    torch::Tensor
        weight;          // [members, inputs, outputs]; of the last layer [members, outputs, inputs]
    torch::Tensor bias;  // [members, 1, outputs]; of the last layer [members, outputs, 1]
  };
  using Layers = std::array<Layer, 3>;

  // What a forward pass leaves for the backward pass. It may be kept and given again, which saves
  // the allocation.
  struct Activations {
    torch::Tensor hidden0, hidden1;  // [members, rows, hidden], after the ReLU
    torch::Tensor outputs;           // [members, outputs, rows]

    // Rows [begin, begin + count).
    Activations Rows(int64_t begin, int64_t count) const;
  };

  // Everything is zero at first.
  MlpStack(int64_t members, int64_t inputs, int64_t hidden, int64_t outputs);

  // torch.nn.Linear's initialisation: weights and biases uniform in +-1 / sqrt(inputs).
  void Initialise(torch::Generator generator);

  // [n], with every matrix beginning at a multiple of 64 bytes; the gaps stay zero.
  const torch::Tensor& parameters() const { return parameters_; }
  const torch::Tensor& gradients() const { return gradients_; }
  const Layers& layers() const { return layers_; }
  const Layers& layer_gradients() const { return layer_gradients_; }

  // inputs [rows, inputs] go through every member.
  void Forward(const torch::Tensor& inputs, Activations& activations) const;

  // Writes the gradients of all parameters, given those of the outputs [members, outputs, rows].
  void Backward(const torch::Tensor& inputs, const Activations& activations,
                const torch::Tensor& output_gradients);

  // The gradient of inputs [begin, begin + count) summed over the members, [rows, count], given
  // those of the outputs [members, outputs, rows]; that of the parameters is not computed.
  torch::Tensor InputGradients(const Activations& activations,
                               const torch::Tensor& output_gradients, int64_t begin, int64_t count);

 private:
  Layers Views(const torch::Tensor& flat) const;

  // The gradient after layer 1, before its ReLU, and after layer 0, in scratch that is kept.
  void BackwardThroughLayer2(const Activations& activations, const torch::Tensor& output_gradients);
  void BackwardThroughLayer1(const Activations& activations);

  int64_t members_;
  std::array<int64_t, 4> widths_;  // inputs, hidden, hidden, outputs
  torch::Tensor parameters_, gradients_;
  Layers layers_, layer_gradients_;
  torch::Tensor hidden1_gradients_, hidden0_gradients_;  // [members, rows, hidden], scratch
};

}  // namespace cosdt::agents
