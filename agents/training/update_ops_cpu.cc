#include "agents/training/update_ops_cpu.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <string>
#include <vector>

#include "agents/kernels/fused_norm.h"
#include "agents/models/decision_transformer.h"
#include "agents/models/step_tokens.h"
#include "agents/training/update_inputs.h"
#include "agents/training/update_math.h"
#include "attention/parallel.h"

namespace cosdt::agents::update_ops {
namespace {

namespace in = update_inputs;

bool IsBFloat16(const Tensor& x) { return x.scalar_type() == torch::kBFloat16; }

// The sums as one part; the other parts are 0.
void WriteParts(const Tensor& sums, const Tensor& parts) {
  parts.zero_();
  parts.select(0, 0).copy_(sums.flatten());
}

Tensor DropValues(const Tensor& x_any, const Tensor& inputs, int64_t layer, double p) {
  if (p == 0) return x_any;
  const Tensor x = x_any.contiguous(), out = torch::empty(x.sizes(), x.options());
  const uint64_t key = in::KeyAt(inputs.const_data_ptr<int64_t>(), inputs.size(1), layer);
  kernels::Drop(IsBFloat16(x), x.const_data_ptr(), {p, key}, 0, x.numel(), out.data_ptr());
  return out;
}

// The rows of the data for a batch's steps.
struct Steps {
  Tensor mask;             // [B, K]
  Tensor rows, timesteps;  // int64 [B K]; 0 at padding
  Tensor firsts;           // bool [B, K]: of an episode

  Steps(const Tensor& inputs, int64_t batch, int64_t context, int64_t limit)
      : mask(torch::zeros({batch, context}, torch::kBool)),
        rows(torch::zeros({batch * context}, torch::kInt64)),
        timesteps(torch::zeros({batch * context}, torch::kInt64)),
        firsts(torch::zeros({batch, context}, torch::kBool)) {
    bool *const real = mask.data_ptr<bool>(), *const first = firsts.data_ptr<bool>();
    int64_t *const row = rows.data_ptr<int64_t>(), *const time = timesteps.data_ptr<int64_t>();
    for (int64_t b = 0; b < batch; ++b) {
      const in::Window window =
          in::WindowAt(inputs.const_data_ptr<int64_t>(), inputs.size(1), batch, b);
      for (int64_t k = 0; k < context; ++k) {
        if (!window.IsReal(k, context)) continue;
        const int64_t at = b * context + k, since = window.Since(k, context);
        real[at] = true;
        row[at] = window.row + since;
        time[at] = std::min(window.timestep + since, limit - 1);
        first[at] = window.timestep + since == 0;
      }
    }
  }

  // [B, K, n] of data [rows, n]; zeros at padding.
  Tensor Gather(const Tensor& data) const {
    return data.index_select(0, rows).view({mask.size(0), mask.size(1), -1}) * mask.unsqueeze(-1);
  }

  // What a step's tokens have of input `i`.
  Tensor Input(TensorList data, int64_t i, int64_t tokens_per_step) const {
    if (i == step_tokens::kReturnToGo) return Gather(data[0].unsqueeze(-1));
    if (i != step_tokens::kAction || !step_tokens::ReadsActionBefore(tokens_per_step)) {
      return Gather(data[i]);
    }
    const Tensor before = (rows - 1).clamp_min(0);
    return data[i].index_select(0, before).view({mask.size(0), mask.size(1), -1}) *
           (mask & firsts.logical_not()).unsqueeze(-1);
  }
};

// Gradients of a LayerNorm's input, gamma and beta.
std::tuple<Tensor, Tensor, Tensor> NormBackward(const Tensor& grad, const Tensor& x,
                                                const Tensor& statistics, const Tensor& gamma) {
  std::vector<int64_t> shape = x.sizes().vec();
  shape.back() = 1;
  return torch::native_layer_norm_backward(grad, x, {x.size(-1)}, statistics[0].view(shape),
                                           statistics[1].view(shape), gamma,
                                           torch::zeros_like(gamma), {true, true, true});
}

// Gradients [.., rows, width] of deciding tokens among zeros of a shape with more rows.
Tensor AmongAll(const Tensor& grad, at::IntArrayRef shape) {
  if (grad.sizes() == shape) return grad;
  const Tensor all = torch::zeros(shape, grad.options());
  const int64_t tokens = all.numel() / grad.numel();
  all.view({-1, tokens, shape.back()})
      .select(1, step_tokens::DecidingToken(tokens))
      .copy_(grad.reshape({-1, shape.back()}));
  return all;
}

kernels::AddNorm MakeAddNorm(const Tensor& sum, const Tensor& statistics, const Tensor& gamma,
                             const Tensor& inputs, int64_t layer, double p, bool bfloat16) {
  kernels::AddNorm op;
  op.width = gamma.numel();
  op.bfloat16 = bfloat16;
  op.gamma = gamma.const_data_ptr<float>();
  if (p > 0) {
    op.drop = {p, in::KeyAt(inputs.const_data_ptr<int64_t>(), inputs.size(1), layer)};
  }
  op.sum = sum.data_ptr<float>();
  op.mean = statistics.data_ptr<float>();
  op.inverse_std = op.mean + statistics.size(1);
  return op;
}

}  // namespace

void EmbedForwardCpu(TensorList data, TensorList weights, const Tensor& inputs,
                     int64_t tokens_per_step, double p, double epsilon, const Tensor& mask,
                     const Tensor& tokens, const Tensor& statistics_0, const Tensor& x,
                     const Tensor& statistics, const Tensor& y) {
  const int64_t batch = x.size(0), context = x.size(1) / tokens_per_step, width = x.size(2);
  const Steps steps(inputs, batch, context, weights[0].size(0));
  const Tensor time = weights[0].index_select(0, steps.timesteps).view({batch, context, width});
  std::vector<Tensor> parts;
  for (int64_t i = 0; i < step_tokens::kInputs; ++i) {
    parts.push_back(torch::linear(steps.Input(data, i, tokens_per_step), weights[1 + 2 * i],
                                  weights[2 + 2 * i]));
  }
  tokens.copy_(StackStepTokens(parts, time, tokens_per_step).view(tokens.sizes()));
  mask.copy_(
      steps.mask.unsqueeze(-1).expand({batch, context, tokens_per_step}).reshape(mask.sizes()));
  const auto norm = [&](const Tensor& from, int64_t gamma, const Tensor& to) {
    const auto [out, mean, inverse] =
        torch::native_layer_norm(from, {width}, weights[gamma], weights[gamma + 1], epsilon);
    to.copy_(torch::stack({mean.flatten(), inverse.flatten()}));
    return out;
  };
  const Tensor first = norm(tokens, 7, statistics_0).to(y.scalar_type());
  x.copy_(DropValues(first, inputs, 0, p));
  y.copy_(norm(x, 9, statistics));
}

void EmbedBackwardCpu(TensorList weights, const Tensor& inputs, int64_t /*tokens_per_step*/,
                      double p, const Tensor& tokens, const Tensor& statistics_0, const Tensor& x,
                      const Tensor& statistics, const Tensor& grad_y, const Tensor& grad_x,
                      const Tensor& grad_tokens, const Tensor& parts) {
  auto [grad, gamma, beta] = NormBackward(grad_y.to(torch::kFloat32), x, statistics, weights[9]);
  grad = DropValues(grad + AmongAll(grad_x, x.sizes()), inputs, 0, p)
             .to(grad_y.scalar_type())
             .to(torch::kFloat32);
  const auto [of_tokens, gamma_0, beta_0] = NormBackward(grad, tokens, statistics_0, weights[7]);
  grad_tokens.copy_(of_tokens);
  WriteParts(torch::cat({gamma, beta, gamma_0, beta_0}), parts);
}

void EmbedGradientsCpu(TensorList data, const Tensor& inputs, int64_t tokens_per_step,
                       const Tensor& grad_tokens, const Tensor& grad_table, const Tensor& parts) {
  const int64_t batch = grad_tokens.size(0), context = grad_tokens.size(1) / tokens_per_step;
  const int64_t width = grad_tokens.size(2);
  const Steps steps(inputs, batch, context, grad_table.size(0));
  const Tensor mask = steps.mask.view({-1, 1});
  const Tensor grad = grad_tokens.view({-1, tokens_per_step, width});
  grad_table.zero_();
  grad_table.index_add_(0, steps.timesteps, grad.sum(1) * mask);
  std::vector<Tensor> sums;
  for (int i = 0; i < step_tokens::kInputs; ++i) {
    const Tensor features = steps.Input(data, i, tokens_per_step);
    const Tensor of_token = grad.select(1, step_tokens::TokenOf(i, tokens_per_step)) * mask;
    sums.push_back(torch::mm(of_token.t(), features.flatten(0, 1)).flatten());
    sums.push_back(of_token.sum(0));
  }
  WriteParts(torch::cat(sums), parts);
}

void AddNormForwardCpu(const Tensor& x, const Tensor& update, const Tensor& inputs, int64_t layer,
                       double p, const Tensor& gamma, const Tensor& beta, double epsilon,
                       const Tensor& sum, const Tensor& statistics, const Tensor& y) {
  const Tensor whole = x.contiguous();
  kernels::AddNorm op = MakeAddNorm(sum, statistics, gamma, inputs, layer, p, IsBFloat16(update));
  op.x = whole.const_data_ptr<float>();
  op.update = update.const_data_ptr();
  op.beta = beta.const_data_ptr<float>();
  op.epsilon = epsilon;
  op.norm = y.data_ptr();
  at::parallel_for(0, statistics.size(1), 256,
                   [&](int64_t begin, int64_t end) { kernels::FusedAddNorm(op, begin, end); });
}

void NormalizeCpu(const Tensor& sum, const Tensor& statistics, const Tensor& gamma,
                  const Tensor& beta, const Tensor& y) {
  const Tensor rows = sum.view({statistics.size(1), -1});
  const auto column = [&](int64_t i) { return statistics[i].unsqueeze(1); };
  y.copy_(((rows - column(0)) * column(1) * gamma + beta).view(y.sizes()));
}

void AddNormBackwardCpu(const Tensor& sum, const Tensor& statistics, const Tensor& gamma,
                        const Tensor& grad_y, const Maybe& grad_sum, const Tensor& inputs,
                        int64_t layer, double p, const Tensor& grad_x, const Tensor& grad_update,
                        const Tensor& norm_parts, const Tensor& bias_parts) {
  const Tensor of_sum = grad_sum ? AmongAll(*grad_sum, grad_x.sizes()) : Tensor();
  const int64_t rows = statistics.size(1), width = gamma.numel();
  const kernels::AddNorm op =
      MakeAddNorm(sum, statistics, gamma, inputs, layer, p, IsBFloat16(grad_y));
  const Tensor affine = torch::zeros({2, width});
  kernels::FusedAddNormBackward(
      op,
      {.grad_sum = of_sum.defined() ? of_sum.const_data_ptr<float>() : nullptr,
       .grad_norm = grad_y.const_data_ptr(),
       .grad_x = grad_x.data_ptr<float>(),
       .grad_update = grad_update.data_ptr()},
      0, rows, affine.data_ptr<float>());
  WriteParts(affine, norm_parts);
  WriteParts(grad_update.view({rows, width}).to(torch::kFloat32).sum(0), bias_parts);
}

void DropRowsCpu(const Tensor& from, const Tensor& inputs, int64_t layer, double p,
                 const Tensor& to) {
  if (from.size(0) > to.size(0)) {
    const int64_t tokens = from.size(0) / to.size(0);
    const Tensor some =
        from.view({-1, tokens, from.size(1)}).select(1, step_tokens::DecidingToken(tokens));
    to.copy_(DropValues(some, inputs, layer, p));
  } else {
    to.copy_(AmongAll(DropValues(from, inputs, layer, p), to.sizes()));
  }
}

void ColumnSumsCpu(std::string_view activation, const Maybe& hidden, const Tensor& x,
                   bool accumulate, const Tensor& parts) {
  if (activation == "relu") x.copy_(torch::threshold_backward(x, *hidden, 0));
  if (activation == "gelu") x.copy_(torch::gelu_backward(x, *hidden));
  const Tensor sums = x.to(torch::kFloat32).sum(0);
  if (accumulate) {
    parts.select(0, 0).add_(sums);
  } else {
    WriteParts(sums, parts);
  }
}

void WeightGradientCpu(const Tensor& grad, const Tensor& x, bool accumulate, const Tensor& to) {
  const Tensor product = torch::mm(grad.t(), x);
  if (accumulate) {
    to.add_(product);
  } else {
    to.copy_(product);
  }
}

void HeadLossCpu(const Tensor& y, const Tensor& weight, const Tensor& bias, const Tensor& actions,
                 const Tensor& inputs, const Tensor& grad_y, const Tensor& parts) {
  const int64_t batch = y.size(0), context = y.size(1);
  const Steps steps(inputs, batch, context, context);
  const Tensor predicted = torch::tanh(torch::linear(y.to(torch::kFloat32), weight, bias));
  const Tensor error = (predicted - steps.Gather(actions)) * steps.mask.unsqueeze(-1);
  const auto real = inputs.const_data_ptr<int64_t>()[inputs.size(1) + in::kReal];
  const double share = 1 / (static_cast<double>(real) * static_cast<double>(weight.size(0)));
  const Tensor slope = (2 * share * error * (1 - predicted.square())).view({-1, weight.size(0)});
  grad_y.copy_(torch::mm(slope, weight).view(y.sizes()));
  const Tensor of_weight = torch::mm(slope.t(), y.view({-1, y.size(2)}).to(torch::kFloat32));
  WriteParts(torch::cat({of_weight.flatten(), slope.sum(0), error.square().sum().view(1) * share}),
             parts);
}

void SumPartsCpu(const Tensor& parts, const Tensor& places, const Tensor& inputs,
                 const Tensor& gradient, const Tensor& results) {
  const Tensor sums = parts.sum(0);
  const int64_t n = places.numel(), update = inputs.const_data_ptr<int64_t>()[in::kDone];
  gradient.index_copy_(0, places, sums.narrow(0, 0, n));
  results.select(0, update).select(0, 0).copy_(sums[n]);
}

void SquaresCpu(const Tensor& gradient, const Tensor& squares) {
  WriteParts(gradient.square().sum(torch::kFloat64).view(1), squares.unsqueeze(1));
}

void AdamWStepCpu(const Tensor& parameters, const Tensor& first, const Tensor& second,
                  const Tensor& gradient, const Tensor& squares, double clip, const Tensor& inputs,
                  const Tensor& results, const Maybe& bfloat16_copy) {
  int64_t* const words = inputs.data_ptr<int64_t>();
  const int64_t width = inputs.size(1), update = words[in::kDone];
  const auto norm = std::sqrt(squares.sum(torch::kFloat64).item<double>());
  const bool finite =
      std::isfinite(static_cast<float>(norm)) && std::isfinite(results[update][0].item<float>());
  if (finite && words[in::kFirstBad] == 0) {
    const auto scalar = [&](int64_t i) {
      return static_cast<float>(std::bit_cast<double>(words[width + i]));
    };
    const update_math::AdamWScalars step = {
        scalar(in::kDecay), scalar(in::kRootCorrection), scalar(in::kRate),
        static_cast<float>(update_math::ClipScale(static_cast<float>(norm), clip))};
    float *const p = parameters.data_ptr<float>(), *const m = first.data_ptr<float>(),
                 *const v = second.data_ptr<float>();
    const float* const g = gradient.const_data_ptr<float>();
    for (int64_t i = 0; i < parameters.numel(); ++i) p[i] = step(p[i], g[i], m[i], v[i]);
    if (bfloat16_copy) bfloat16_copy->copy_(parameters);
  }
  results[update][1] = norm;
  if (!finite && words[in::kFirstBad] == 0) words[in::kFirstBad] = update + 1;
  words[in::kDone] = update + 1;
  if (update + 2 < inputs.size(0)) inputs.select(0, 1).copy_(inputs.select(0, update + 2));
}

}  // namespace cosdt::agents::update_ops
