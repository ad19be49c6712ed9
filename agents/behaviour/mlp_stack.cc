#include "agents/behaviour/mlp_stack.h"

#include <cmath>

namespace cosdt::agents {
namespace {

constexpr int64_t kAlignment = 16;  // floats: 64 bytes, a cache line

int64_t Aligned(int64_t n) { return (n + kAlignment - 1) / kAlignment * kAlignment; }

// Gives a tensor that is kept from pass to pass the shape it needs.
void Reserve(torch::Tensor& tensor, std::array<int64_t, 3> shape) {
  if (!tensor.defined() || tensor.sizes() != c10::IntArrayRef(shape)) tensor = torch::empty(shape);
}

// A hidden layer: x is [members, rows, inputs].
void HiddenLayer(const MlpStack::Layer& layer, const torch::Tensor& x, torch::Tensor& out) {
  Reserve(out, {x.size(0), x.size(1), layer.bias.size(2)});
  at::baddbmm_out(out, layer.bias, x, layer.weight);
  out.relu_();
}

// Gradients of a hidden layer's parameters, given those before its ReLU.
void HiddenLayerBackward(const MlpStack::Layer& gradient, const torch::Tensor& inputs,
                         const torch::Tensor& output_gradients) {
  torch::Tensor weight = gradient.weight;
  at::bmm_out(weight, inputs.transpose(1, 2), output_gradients);
  torch::Tensor bias = gradient.bias;
  at::sum_out(bias, output_gradients, {1}, true);
}

}  // namespace

MlpStack::Activations MlpStack::Activations::Rows(int64_t begin, int64_t count) const {
  return {hidden0.narrow(1, begin, count), hidden1.narrow(1, begin, count),
          outputs.narrow(2, begin, count)};
}

MlpStack::MlpStack(int64_t members, int64_t inputs, int64_t hidden, int64_t outputs)
    : members_(members), widths_{inputs, hidden, hidden, outputs} {
  int64_t size = 0;
  for (size_t i = 0; i < layers_.size(); ++i) {
    size += Aligned(members * widths_[i] * widths_[i + 1]) + Aligned(members * widths_[i + 1]);
  }
  parameters_ = torch::zeros(size);
  gradients_ = torch::zeros(size);
  layers_ = Views(parameters_);
  layer_gradients_ = Views(gradients_);
}

MlpStack::Layers MlpStack::Views(const torch::Tensor& flat) const {
  Layers layers;
  int64_t offset = 0;
  const auto take = [&](int64_t rows, int64_t columns) {
    const int64_t size = members_ * rows * columns;
    const torch::Tensor view = flat.narrow(0, offset, size).view({members_, rows, columns});
    offset += Aligned(size);
    return view;
  };
  for (size_t i = 0; i < 2; ++i) {
    layers[i].weight = take(widths_[i], widths_[i + 1]);
    layers[i].bias = take(1, widths_[i + 1]);
  }
  layers[2].weight = take(widths_[3], widths_[2]);
  layers[2].bias = take(widths_[3], 1);
  return layers;
}

void MlpStack::Initialise(torch::Generator generator) {
  const torch::NoGradGuard no_grad;
  for (size_t i = 0; i < layers_.size(); ++i) {
    const double bound = 1 / std::sqrt(static_cast<double>(widths_[i]));
    layers_[i].weight.uniform_(-bound, bound, generator);
    layers_[i].bias.uniform_(-bound, bound, generator);
  }
}

void MlpStack::Forward(const torch::Tensor& inputs, Activations& activations) const {
  HiddenLayer(layers_[0], inputs.expand({members_, -1, -1}), activations.hidden0);
  HiddenLayer(layers_[1], activations.hidden0, activations.hidden1);
  Reserve(activations.outputs, {members_, widths_[3], inputs.size(0)});
  at::baddbmm_out(activations.outputs, layers_[2].bias, layers_[2].weight,
                  activations.hidden1.transpose(1, 2));
}

void MlpStack::BackwardThroughLayer2(const Activations& activations,
                                     const torch::Tensor& output_gradients) {
  Reserve(hidden1_gradients_, {members_, output_gradients.size(2), widths_[2]});
  at::bmm_out(hidden1_gradients_, output_gradients.transpose(1, 2), layers_[2].weight);
  at::threshold_backward_out(hidden1_gradients_, hidden1_gradients_, activations.hidden1, 0);
}

void MlpStack::BackwardThroughLayer1(const Activations& activations) {
  Reserve(hidden0_gradients_, {members_, hidden1_gradients_.size(1), widths_[1]});
  at::bmm_out(hidden0_gradients_, hidden1_gradients_, layers_[1].weight.transpose(1, 2));
  at::threshold_backward_out(hidden0_gradients_, hidden0_gradients_, activations.hidden0, 0);
}

void MlpStack::Backward(const torch::Tensor& inputs, const Activations& activations,
                        const torch::Tensor& output_gradients) {
  at::bmm_out(layer_gradients_[2].weight, output_gradients, activations.hidden1);
  at::sum_out(layer_gradients_[2].bias, output_gradients, {2}, true);
  BackwardThroughLayer2(activations, output_gradients);
  HiddenLayerBackward(layer_gradients_[1], activations.hidden0, hidden1_gradients_);
  BackwardThroughLayer1(activations);
  HiddenLayerBackward(layer_gradients_[0], inputs.expand({members_, -1, -1}), hidden0_gradients_);
}

torch::Tensor MlpStack::InputGradients(const Activations& activations,
                                       const torch::Tensor& output_gradients, int64_t begin,
                                       int64_t count) {
  BackwardThroughLayer2(activations, output_gradients);
  BackwardThroughLayer1(activations);
  return at::bmm(hidden0_gradients_, layers_[0].weight.narrow(1, begin, count).transpose(1, 2))
      .sum(0);
}

}  // namespace cosdt::agents
