// Tensors to the kernels' arguments (update_kernels.h), launched by a device, or by the test
// that runs the kernels on the host.
#pragma once

#include <torch/library.h>
#include <torch/torch.h>

#include <algorithm>
#include <optional>
#include <string_view>

#include "agents/training/update_kernels.h"

namespace cosdt::agents::update_ops {

// Device::Launch(op, tensor) runs the kernel of one of update_kernels.h's structs on the tensor's
// device.
template <class Device>
struct Binding {
  using Tensor = torch::Tensor;
  using TensorList = torch::TensorList;
  using Maybe = std::optional<Tensor>;

  static float* Floats(const Tensor& x) { return x.data_ptr<float>(); }
  static bool IsBFloat16(const Tensor& x) { return x.scalar_type() == torch::kBFloat16; }

  static kernels::Parts PartsOf(const Tensor& parts) {
    return {Floats(parts), parts.stride(0), parts.size(0)};
  }

  static kernels::UpdateInputs InputsOf(const Tensor& inputs) {
    return {inputs.data_ptr<int64_t>(), inputs.size(1), inputs.size(0)};
  }

  // `x` is [B, tokens K, width].
  static kernels::EmbedShape ShapeOf(TensorList data, const Tensor& x, int64_t tokens_per_step,
                                     int64_t timestep_limit) {
    kernels::EmbedShape shape;
    shape.tokens_per_step = tokens_per_step;
    shape.batch = x.size(0);
    shape.context = x.size(1) / tokens_per_step;
    shape.width = x.size(2);
    shape.timestep_limit = timestep_limit;
    if (!data.empty()) {
      shape.observation_size = data[1].size(1);
      shape.action_size = data[2].size(1);
      shape.returns_to_go = Floats(data[0]);
      shape.observations = Floats(data[1]);
      shape.actions = Floats(data[2]);
    }
    return shape;
  }

  static void EmbedForward(TensorList data, TensorList weights, const Tensor& inputs,
                           int64_t tokens_per_step, double p, double epsilon, const Tensor& mask,
                           const Tensor& tokens, const Tensor& statistics_0, const Tensor& x,
                           const Tensor& statistics, const Tensor& y) {
    kernels::EmbedForward op;
    op.shape = ShapeOf(data, x, tokens_per_step, weights[0].size(0));
    op.inputs = InputsOf(inputs);
    op.p = p;
    op.bfloat16 = IsBFloat16(y);
    const float** const places[] = {&op.table,     &op.weights[0], &op.biases[0], &op.weights[1],
                                    &op.biases[1], &op.weights[2], &op.biases[2], &op.gamma_0,
                                    &op.beta_0,    &op.gamma,      &op.beta};
    for (size_t i = 0; i < std::size(places); ++i) *places[i] = Floats(weights[i]);
    op.epsilon_0 = op.epsilon = epsilon;
    op.mask = mask.data_ptr<bool>();
    op.tokens = Floats(tokens);
    op.statistics_0 = Floats(statistics_0);
    op.x = Floats(x);
    op.statistics = Floats(statistics);
    op.y = y.data_ptr();
    Device::Launch(op, x);
  }

  static void EmbedBackward(TensorList weights, const Tensor& inputs, int64_t tokens_per_step,
                            double p, const Tensor& tokens, const Tensor& statistics_0,
                            const Tensor& x, const Tensor& statistics, const Tensor& grad_y,
                            const Tensor& grad_x, const Tensor& grad_tokens, const Tensor& parts) {
    kernels::EmbedBackward op;
    op.shape = ShapeOf({}, x, tokens_per_step, weights[0].size(0));
    op.inputs = InputsOf(inputs);
    op.p = p;
    op.bfloat16 = IsBFloat16(grad_y);
    op.gamma_0 = Floats(weights[7]);
    op.gamma = Floats(weights[9]);
    op.tokens = Floats(tokens);
    op.statistics_0 = Floats(statistics_0);
    op.x = Floats(x);
    op.statistics = Floats(statistics);
    op.grad_y = grad_y.data_ptr();
    op.grad_x = Floats(grad_x);
    op.sparse = grad_x.numel() < x.numel();
    op.grad_tokens = Floats(grad_tokens);
    op.parts = PartsOf(parts);
    Device::Launch(op, x);
  }

  static void EmbedGradients(TensorList data, const Tensor& inputs, int64_t tokens_per_step,
                             const Tensor& grad_tokens, const Tensor& grad_table,
                             const Tensor& parts) {
    kernels::EmbedGradients op;
    op.shape = ShapeOf(data, grad_tokens, tokens_per_step, grad_table.size(0));
    op.inputs = InputsOf(inputs);
    op.grad_tokens = Floats(grad_tokens);
    op.grad_table = Floats(grad_table);
    op.parts = PartsOf(parts);
    Device::Launch(op, grad_tokens);
  }

  static void AddNormForward(const Tensor& x, const Tensor& update, const Tensor& inputs,
                             int64_t layer, double p, const Tensor& gamma, const Tensor& beta,
                             double epsilon, const Tensor& sum, const Tensor& statistics,
                             const Tensor& y) {
    kernels::AddNormForward op;
    op.rows = statistics.size(1);
    op.width = gamma.numel();
    op.bfloat16 = IsBFloat16(update);
    op.inputs = InputsOf(inputs);
    op.layer = layer;
    op.p = p;
    op.epsilon = epsilon;
    op.x = Floats(x);
    op.x_stride = x.stride(0);
    op.update = update.data_ptr();
    op.gamma = Floats(gamma);
    op.beta = Floats(beta);
    op.sum = Floats(sum);
    op.statistics = Floats(statistics);
    op.y = y.data_ptr();
    Device::Launch(op, x);
  }

  static void Normalize(const Tensor& sum, const Tensor& statistics, const Tensor& gamma,
                        const Tensor& beta, const Tensor& y) {
    kernels::Normalize op;
    op.rows = statistics.size(1);
    op.width = gamma.numel();
    op.bfloat16 = IsBFloat16(y);
    op.sum = Floats(sum);
    op.statistics = Floats(statistics);
    op.gamma = Floats(gamma);
    op.beta = Floats(beta);
    op.y = y.data_ptr();
    Device::Launch(op, sum);
  }

  static void AddNormBackward(const Tensor& sum, const Tensor& statistics, const Tensor& gamma,
                              const Tensor& grad_y, const Maybe& grad_sum, const Tensor& inputs,
                              int64_t layer, double p, const Tensor& grad_x,
                              const Tensor& grad_update, const Tensor& norm_parts,
                              const Tensor& bias_parts) {
    kernels::AddNormBackward op;
    op.rows = statistics.size(1);
    op.width = gamma.numel();
    op.bfloat16 = IsBFloat16(grad_y);
    op.inputs = InputsOf(inputs);
    op.layer = layer;
    op.p = p;
    op.sum = Floats(sum);
    op.statistics = Floats(statistics);
    op.gamma = Floats(gamma);
    op.grad_y = grad_y.data_ptr();
    op.grad_sum = grad_sum ? Floats(*grad_sum) : nullptr;
    op.tokens = grad_sum ? sum.numel() / grad_sum->numel() : 1;
    op.grad_x = Floats(grad_x);
    op.grad_update = grad_update.data_ptr();
    op.norm = PartsOf(norm_parts);
    op.bias = PartsOf(bias_parts);
    Device::Launch(op, sum);
  }

  static void DropRows(const Tensor& from, const Tensor& inputs, int64_t layer, double p,
                       const Tensor& to) {
    kernels::DropRows op;
    op.mode = from.size(0) > to.size(0)   ? kernels::DropRows::kGather
              : from.size(0) < to.size(0) ? kernels::DropRows::kScatter
                                          : kernels::DropRows::kPlain;
    op.rows = std::min(from.size(0), to.size(0));
    op.tokens = std::max(from.size(0), to.size(0)) / op.rows;
    op.width = to.size(1);
    op.bfloat16 = IsBFloat16(to);
    op.inputs = InputsOf(inputs);
    op.layer = layer;
    op.p = p;
    op.from = from.data_ptr();
    op.to = to.data_ptr();
    Device::Launch(op, to);
  }

  static void ColumnSums(std::string_view activation, const Maybe& hidden, const Tensor& x,
                         bool accumulate, const Tensor& parts) {
    kernels::ColumnSums op;
    op.slope = activation == "relu"   ? kernels::ColumnSums::kRelu
               : activation == "gelu" ? kernels::ColumnSums::kGelu
                                      : kernels::ColumnSums::kNone;
    op.rows = x.size(0);
    op.width = x.size(1);
    op.bfloat16 = IsBFloat16(x);
    op.hidden = hidden ? hidden->data_ptr() : nullptr;
    op.x = x.data_ptr();
    op.accumulate = accumulate;
    op.parts = PartsOf(parts);
    Device::Launch(op, x);
  }

  static void HeadLoss(const Tensor& y, const Tensor& weight, const Tensor& bias,
                       const Tensor& actions, const Tensor& inputs, const Tensor& grad_y,
                       const Tensor& parts) {
    kernels::HeadLoss op;
    op.batch = y.size(0);
    op.context = y.size(1);
    op.width = y.size(2);
    op.action_size = weight.size(0);
    op.bfloat16 = IsBFloat16(y);
    op.inputs = InputsOf(inputs);
    op.y = y.data_ptr();
    op.weight = Floats(weight);
    op.bias = Floats(bias);
    op.actions = Floats(actions);
    op.grad_y = grad_y.data_ptr();
    op.parts = PartsOf(parts);
    Device::Launch(op, y);
  }

  static void SumParts(const Tensor& parts, const Tensor& places, const Tensor& inputs,
                       const Tensor& gradient, const Tensor& results) {
    kernels::SumParts op;
    op.columns = parts.size(1);
    op.places = places.data_ptr<int64_t>();
    op.parts = PartsOf(parts);
    op.inputs = InputsOf(inputs);
    op.gradient = Floats(gradient);
    op.results = Floats(results);
    Device::Launch(op, parts);
  }

  static void Squares(const Tensor& gradient, const Tensor& squares) {
    Device::Launch(
        kernels::Squares{gradient.numel(), Floats(gradient), Floats(squares), squares.numel()},
        gradient);
  }

  static void AdamWStep(const Tensor& parameters, const Tensor& first, const Tensor& second,
                        const Tensor& gradient, const Tensor& squares, double clip,
                        const Tensor& inputs, const Tensor& results, const Maybe& bfloat16_copy) {
    kernels::AdamWStep op;
    op.size = parameters.numel();
    op.squares_count = squares.numel();
    op.squares = Floats(squares);
    op.gradient = Floats(gradient);
    op.clip = clip;
    op.parameters = Floats(parameters);
    op.first = Floats(first);
    op.second = Floats(second);
    op.bfloat16_copy = bfloat16_copy ? bfloat16_copy->data_ptr() : nullptr;
    op.inputs = InputsOf(inputs);
    op.results = Floats(results);
    Device::Launch(op, parameters);
  }

  // All operations but products.
  static void Register(torch::Library& library) {
    library.impl("embed_forward", EmbedForward);
    library.impl("embed_backward", EmbedBackward);
    library.impl("embed_gradients", EmbedGradients);
    library.impl("add_norm_forward", AddNormForward);
    library.impl("normalize", Normalize);
    library.impl("add_norm_backward", AddNormBackward);
    library.impl("drop_rows", DropRows);
    library.impl("column_sums", ColumnSums);
    library.impl("head_loss", HeadLoss);
    library.impl("sum_parts", SumParts);
    library.impl("squares", Squares);
    library.impl("adamw_step", AdamWStep);
  }
};

}  // namespace cosdt::agents::update_ops
