#include "agents/mlp/mlp_stack.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>

#include "agents/kernels/mlp_kernels.h"
#include "attention/parallel.h"

namespace cosdt::agents {
namespace {

using kernels::Epilogue;
using kernels::Rows;

constexpr int64_t kAlignment = 16;  // floats: 64 bytes, a cache line

int64_t Aligned(int64_t n) { return (n + kAlignment - 1) / kAlignment * kAlignment; }

Rows RowsFrom(Rows rows, int64_t row) { return {rows.data + row * rows.stride, rows.stride}; }

// Calls body(begin, end) on parts of [0, n) in parallel, of whole tiles of the products.
template <class Body>
void ForParts(int64_t n, const Body& body) {
  constexpr int64_t kTileHeight = 12;
  const int64_t tiles = (n + kTileHeight - 1) / kTileHeight;
  const int64_t grain = std::max<int64_t>(1, tiles / at::get_num_threads());
  at::parallel_for(0, tiles, grain, [&](int64_t begin, int64_t end) {
    body(begin * kTileHeight, std::min(n, end * kTileHeight));
  });
}

void Expect(bool good, const char* name, const std::string& expected, int64_t found) {
  if (good) return;
  throw std::invalid_argument(std::string(name) + ": expected " + expected + ", found " +
                              std::to_string(found));
}

}  // namespace

MlpStack::Hidden MlpStack::Hidden::From(int64_t row) const {
  Hidden from;
  for (size_t i = 0; i < relu.size(); ++i) {
    from.relu[i] = RowsFrom(relu[i], row);
    from.normal[i] = RowsFrom(normal[i], row);
    from.statistics[i] = RowsFrom(statistics[i], row);
  }
  return from;
}

MlpStack::MlpStack(int64_t members, int64_t inputs, int64_t hidden, int64_t outputs,
                   int64_t hidden_layers, bool layer_norm)
    : members_(members),
      inputs_(inputs),
      hidden_(hidden),
      outputs_(outputs),
      hidden_layers_(hidden_layers),
      layer_norm_(layer_norm) {
  Expect(hidden % kernels::kPanel == 0, "hidden",
         "a multiple of " + std::to_string(kernels::kPanel), hidden);
  Expect(hidden_layers >= 1 && hidden_layers <= kMaxHiddenLayers, "hidden layers",
         "1 to " + std::to_string(kMaxHiddenLayers), hidden_layers);
  int64_t size = Aligned(members * hidden * outputs) + Aligned(members * outputs);
  for (int64_t i = 0; i < hidden_layers; ++i) {
    size +=
        Aligned(members * inputs_of(i) * hidden) + (layer_norm ? 3 : 1) * Aligned(members * hidden);
  }
  parameters_ = torch::zeros(size);
  gradients_ = torch::zeros(size);
  layers_ = Views(parameters_);
  layer_gradients_ = Views(gradients_);
  for (const Layer& layer : layers_) {
    if (layer.scale.defined()) layer.scale.fill_(1);
  }
  transposed_.Require(members * (hidden_layers - 1) * hidden * hidden);
}

void MlpStack::PlaceGradients(const torch::Tensor& flat) {
  gradients_ = flat;
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
  for (int64_t i = 0; i < hidden_layers_; ++i) {
    Layer& layer = layers.emplace_back();
    layer.weight = take(inputs_of(i), hidden_);
    layer.bias = take(1, hidden_);
    if (!layer_norm_) continue;
    layer.scale = take(1, hidden_);
    layer.shift = take(1, hidden_);
  }
  Layer& last = layers.emplace_back();
  last.weight = take(outputs_, hidden_);
  last.bias = take(outputs_, 1);
  return layers;
}

MlpStack::Pointers MlpStack::At(const Layer& layer, int64_t member) {
  const auto at = [&](const torch::Tensor& tensor) {
    return tensor.defined() ? tensor.data_ptr<float>() + member * tensor.stride(0) : nullptr;
  };
  return {at(layer.weight), at(layer.bias), at(layer.scale), at(layer.shift)};
}

void MlpStack::Initialize(const std::optional<torch::Generator>& generator) {
  const torch::NoGradGuard no_grad;
  for (size_t i = 0; i < layers_.size(); ++i) {
    const double bound = 1 / std::sqrt(static_cast<double>(inputs_of(static_cast<int64_t>(i))));
    layers_[i].weight.uniform_(-bound, bound, generator);
    layers_[i].bias.uniform_(-bound, bound, generator);
  }
}

void MlpStack::InitializeAsEdac(double bound, const std::optional<torch::Generator>& generator) {
  const torch::NoGradGuard no_grad;
  Initialize(generator);
  for (size_t i = 0; i + 1 < layers_.size(); ++i) layers_[i].bias.fill_(0.1);
  layers_.back().weight.uniform_(-bound, bound, generator);
  layers_.back().bias.uniform_(-bound, bound, generator);
}

MlpStack::Hidden MlpStack::HiddenIn(kernels::Floats& memory, int64_t rows) const {
  // rows a power of two apart would share few places of the cache
  const int64_t stride = hidden_ + kernels::kPanel;
  const int64_t size = layer_norm_ ? 2 * stride + 2 : stride;
  memory.Require(hidden_layers_ * rows * size);
  Hidden hidden;
  for (int64_t i = 0; i < hidden_layers_; ++i) {
    float* const at = memory.data() + i * rows * size;
    hidden.relu[static_cast<size_t>(i)] = {at, stride};
    if (!layer_norm_) continue;
    hidden.normal[static_cast<size_t>(i)] = {at + rows * stride, stride};
    hidden.statistics[static_cast<size_t>(i)] = {at + 2 * rows * stride, 2};
  }
  return hidden;
}

void MlpStack::Forward(int64_t member, Rows inputs, int64_t rows, const Hidden& hidden,
                       Rows outputs) const {
  Rows x = inputs;
  for (int64_t i = 0; i < hidden_layers_; ++i) {
    const auto layer = static_cast<size_t>(i);
    const Pointers at = At(layers_[layer], member);
    kernels::MultiplyRows(x, rows, at.weight, inputs_of(i), hidden_, at.bias, Epilogue::kRelu,
                          hidden.relu[layer]);
    if (layer_norm_) {
      kernels::LayerNormRows(hidden.relu[layer], rows, hidden_, at.scale, at.shift,
                             hidden.normal[layer], hidden.statistics[layer]);
    }
    x = OutputsOf(hidden, i);
  }
  const Pointers last = At(layers_.back(), member);
  kernels::NarrowOutputs(x, rows, last.weight, hidden_, outputs_, last.bias, outputs);
}

void MlpStack::PrepareBackward() {
  const int64_t count = hidden_layers_ - 1;  // of each member
  at::parallel_for(0, members_ * count, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const Layer& layer = layers_[static_cast<size_t>(i % count + 1)];
      kernels::Transpose(At(layer, i / count).weight, hidden_, hidden_,
                         transposed_.data() + i * hidden_ * hidden_);
    }
  });
}

void MlpStack::ZeroGradients(int64_t member) {
  for (const Layer& layer : layer_gradients_) {
    for (const torch::Tensor* tensor : {&layer.weight, &layer.bias, &layer.scale, &layer.shift}) {
      if (!tensor->defined()) continue;
      std::fill_n(tensor->data_ptr<float>() + member * tensor->stride(0), tensor->stride(0), 0.0f);
    }
  }
}

void MlpStack::AddGradients(int64_t member, Rows inputs, int64_t rows, const Hidden& hidden,
                            Rows output_gradients) {
  const Pointers last = At(layers_.back(), member), to_last = At(layer_gradients_.back(), member);
  const Rows outputs = OutputsOf(hidden, hidden_layers_ - 1);
  kernels::AddTransposedProduct(output_gradients, outputs, rows, 0, outputs_, hidden_,
                                {to_last.weight, hidden_});
  kernels::AddColumnSums(output_gradients, rows, outputs_, to_last.bias);
  kernels::NarrowHiddenGradients(output_gradients, rows, last.weight, hidden_, outputs_,
                                 layer_norm_ ? Rows() : outputs, outputs);
  // gradients replace the values, from the last hidden layer to the first
  for (int64_t i = hidden_layers_ - 1; i >= 0; --i) {
    const auto layer = static_cast<size_t>(i);
    const Pointers at = At(layers_[layer], member), to = At(layer_gradients_[layer], member);
    const Rows gradients = hidden.relu[layer];
    if (layer_norm_) {
      kernels::LayerNormReluGradients(
          hidden.normal[layer], rows, hidden_,
          {gradients, hidden.statistics[layer], at.scale, to.scale, to.shift}, gradients);
    }
    kernels::AddColumnSums(gradients, rows, hidden_, to.bias);
    if (i == 0) {
      kernels::AddTransposedProduct(inputs, gradients, rows, 0, inputs_, hidden_,
                                    {to.weight, hidden_});
      return;
    }
    const Rows before = OutputsOf(hidden, i - 1);
    ForParts(hidden_, [&](int64_t begin, int64_t end) {
      kernels::AddTransposedProduct(before, gradients, rows, begin, end, hidden_,
                                    {to.weight, hidden_});
    });
    ForParts(rows, [&](int64_t begin, int64_t end) {
      kernels::MultiplyRows(
          RowsFrom(gradients, begin), end - begin, Transposed(member, i), hidden_, hidden_, nullptr,
          layer_norm_ ? Epilogue::kStore : Epilogue::kReluGradient, RowsFrom(before, begin));
    });
  }
}

void MlpStack::InputGradients(int64_t member, std::span<const int64_t> chosen, const Hidden& hidden,
                              float output_gradient, int64_t begin, int64_t count,
                              const Hidden& scratch, Rows to) const {
  const auto rows = static_cast<int64_t>(chosen.size());
  const Pointers last = At(layers_.back(), member);
  for (int64_t layer = hidden_layers_ - 1; layer >= 0; --layer) {
    const auto at = static_cast<size_t>(layer);
    const bool first = layer == hidden_layers_ - 1;
    const float* const scale = At(layers_[at], member).scale;
    if (!first) {
      kernels::MultiplyRows(scratch.relu[at + 1], rows, Transposed(member, layer + 1), hidden_,
                            hidden_, nullptr, Epilogue::kStore, OutputsOf(scratch, layer));
    }
    for (int64_t i = 0; i < rows; ++i) {
      const Rows gradients = RowsFrom(OutputsOf(scratch, layer), i);
      const Rows relu = RowsFrom(hidden.relu[at], chosen[i]);
      if (first) {
        kernels::NarrowHiddenGradients({&output_gradient, 1}, 1, last.weight, hidden_, 1,
                                       layer_norm_ ? Rows() : relu, gradients);
      } else if (!layer_norm_) {
        kernels::MulActivationSlopes(Epilogue::kRelu, relu, 1, hidden_, gradients);
      }
      if (!layer_norm_) continue;
      kernels::LayerNormReluGradients(gradients, 1, hidden_,
                                      {relu, RowsFrom(hidden.statistics[at], chosen[i]), scale},
                                      RowsFrom(scratch.relu[at], i));
    }
  }
  const float* const weight = At(layers_[0], member).weight;
  for (int64_t i = 0; i < rows; ++i) {
    kernels::NarrowOutputs(RowsFrom(scratch.relu[0], i), 1, weight + begin * hidden_, hidden_,
                           count, nullptr, RowsFrom(to, chosen[i]));
  }
}

}  // namespace cosdt::agents
