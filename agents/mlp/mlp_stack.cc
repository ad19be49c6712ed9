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

}  // namespace

MlpStack::Hidden MlpStack::Hidden::From(int64_t row) const {
  return {RowsFrom(layer0, row), RowsFrom(layer1, row)};
}

MlpStack::MlpStack(int64_t members, int64_t inputs, int64_t hidden, int64_t outputs)
    : members_(members), widths_{inputs, hidden, hidden, outputs} {
  if (hidden % kernels::kPanel != 0) {
    throw std::invalid_argument("hidden: expected a multiple of " +
                                std::to_string(kernels::kPanel) + ", found " +
                                std::to_string(hidden));
  }
  int64_t size = 0;
  for (size_t i = 0; i < layers_.size(); ++i) {
    size += Aligned(members * widths_[i] * widths_[i + 1]) + Aligned(members * widths_[i + 1]);
  }
  parameters_ = torch::zeros(size);
  gradients_ = torch::zeros(size);
  layers_ = Views(parameters_);
  layer_gradients_ = Views(gradients_);
  transposed_.Require(members * hidden * hidden);
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

MlpStack::Pointers MlpStack::At(const Layers& layers, int64_t member) {
  Pointers at;
  for (size_t i = 0; i < layers.size(); ++i) {
    at.weight[i] = layers[i].weight.data_ptr<float>() + member * layers[i].weight.stride(0);
    at.bias[i] = layers[i].bias.data_ptr<float>() + member * layers[i].bias.stride(0);
  }
  return at;
}

void MlpStack::Initialize(torch::Generator generator) {
  const torch::NoGradGuard no_grad;
  for (size_t i = 0; i < layers_.size(); ++i) {
    const double bound = 1 / std::sqrt(static_cast<double>(widths_[i]));
    layers_[i].weight.uniform_(-bound, bound, generator);
    layers_[i].bias.uniform_(-bound, bound, generator);
  }
}

MlpStack::Hidden MlpStack::HiddenIn(kernels::Floats& memory, int64_t rows) const {
  // rows a power of two apart would share few places of the cache
  const int64_t stride = widths_[1] + kernels::kPanel;
  memory.Require(2 * rows * stride);
  return {{memory.data(), stride}, {memory.data() + rows * stride, stride}};
}

void MlpStack::Forward(int64_t member, Rows inputs, int64_t rows, const Hidden& hidden,
                       Rows outputs) const {
  const Pointers at = At(layers_, member);
  kernels::MultiplyRows(inputs, rows, at.weight[0], widths_[0], widths_[1], at.bias[0],
                        Epilogue::kRelu, hidden.layer0);
  kernels::MultiplyRows(hidden.layer0, rows, at.weight[1], widths_[1], widths_[2], at.bias[1],
                        Epilogue::kRelu, hidden.layer1);
  kernels::NarrowOutputs(hidden.layer1, rows, at.weight[2], widths_[2], widths_[3], at.bias[2],
                         outputs);
}

void MlpStack::PrepareBackward() {
  at::parallel_for(0, members_, 1, [&](int64_t begin, int64_t end) {
    for (int64_t member = begin; member < end; ++member) {
      kernels::Transpose(At(layers_, member).weight[1], widths_[1], widths_[2],
                         transposed_.data() + member * widths_[1] * widths_[2]);
    }
  });
}

void MlpStack::Backward(int64_t member, Rows inputs, int64_t rows, const Hidden& hidden,
                        Rows output_gradients) {
  const Pointers at = At(layers_, member), to = At(layer_gradients_, member);
  for (size_t i = 0; i < layers_.size(); ++i) {
    std::fill_n(to.weight[i], widths_[i] * widths_[i + 1], 0.0f);
    std::fill_n(to.bias[i], widths_[i + 1], 0.0f);
  }
  const int64_t width = widths_[2];
  kernels::AddTransposedProduct(output_gradients, hidden.layer1, rows, 0, widths_[3], width,
                                {to.weight[2], width});
  kernels::AddColumnSums(output_gradients, rows, widths_[3], to.bias[2]);
  kernels::NarrowHiddenGradients(output_gradients, rows, at.weight[2], width, widths_[3],
                                 hidden.layer1, hidden.layer1);
  kernels::AddColumnSums(hidden.layer1, rows, width, to.bias[1]);
  ForParts(widths_[1], [&](int64_t begin, int64_t end) {
    kernels::AddTransposedProduct(hidden.layer0, hidden.layer1, rows, begin, end, width,
                                  {to.weight[1], width});
  });
  ForParts(rows, [&](int64_t begin, int64_t end) {
    kernels::MultiplyRows(RowsFrom(hidden.layer1, begin), end - begin, Transposed(member), width,
                          widths_[1], nullptr, Epilogue::kReluGradient,
                          RowsFrom(hidden.layer0, begin));
  });
  kernels::AddColumnSums(hidden.layer0, rows, widths_[1], to.bias[0]);
  kernels::AddTransposedProduct(inputs, hidden.layer0, rows, 0, widths_[0], widths_[1],
                                {to.weight[0], widths_[1]});
}

void MlpStack::InputGradients(int64_t member, std::span<const int64_t> chosen, const Hidden& hidden,
                              float output_gradient, int64_t begin, int64_t count,
                              const Hidden& scratch, Rows to) const {
  const Pointers at = At(layers_, member);
  const auto rows = static_cast<int64_t>(chosen.size());
  for (int64_t i = 0; i < rows; ++i) {
    kernels::NarrowHiddenGradients({&output_gradient, 1}, 1, at.weight[2], widths_[2], 1,
                                   RowsFrom(hidden.layer1, chosen[i]), RowsFrom(scratch.layer1, i));
  }
  kernels::MultiplyRows(scratch.layer1, rows, Transposed(member), widths_[2], widths_[1], nullptr,
                        Epilogue::kStore, scratch.layer0);
  for (int64_t i = 0; i < rows; ++i) {
    const Rows gradients = RowsFrom(scratch.layer0, i);
    kernels::MulActivationSlopes(Epilogue::kRelu, RowsFrom(hidden.layer0, chosen[i]), 1, widths_[1],
                                 gradients);
    kernels::NarrowOutputs(gradients, 1, at.weight[0] + begin * widths_[1], widths_[1], count,
                           nullptr, RowsFrom(to, chosen[i]));
  }
}

}  // namespace cosdt::agents
