// The operations of update_ops.h on the CPU, as the dispatcher calls them: their arguments are
// those of the schemas in update_ops.cc.
#pragma once

#include <torch/torch.h>

#include <optional>
#include <string_view>

namespace cosdt::agents::update_ops {

using torch::Tensor;
using torch::TensorList;
using Maybe = std::optional<Tensor>;

void EmbedForwardCpu(TensorList data, TensorList weights, const Tensor& inputs,
                     int64_t tokens_per_step, double p, double epsilon, const Tensor& mask,
                     const Tensor& tokens, const Tensor& statistics_0, const Tensor& x,
                     const Tensor& statistics, const Tensor& y);
void EmbedBackwardCpu(TensorList weights, const Tensor& inputs, int64_t tokens_per_step, double p,
                      const Tensor& tokens, const Tensor& statistics_0, const Tensor& x,
                      const Tensor& statistics, const Tensor& grad_y, const Tensor& grad_x,
                      const Tensor& grad_tokens, const Tensor& parts);
void EmbedGradientsCpu(TensorList data, const Tensor& inputs, int64_t tokens_per_step,
                       const Tensor& grad_tokens, const Tensor& grad_table, const Tensor& parts);
void AddNormForwardCpu(const Tensor& x, const Tensor& update, const Tensor& inputs, int64_t layer,
                       double p, const Tensor& gamma, const Tensor& beta, double epsilon,
                       const Tensor& sum, const Tensor& statistics, const Tensor& y);
void NormalizeCpu(const Tensor& sum, const Tensor& statistics, const Tensor& gamma,
                  const Tensor& beta, const Tensor& y);
void AddNormBackwardCpu(const Tensor& sum, const Tensor& statistics, const Tensor& gamma,
                        const Tensor& grad_y, const Maybe& grad_sum, const Tensor& inputs,
                        int64_t layer, double p, const Tensor& grad_x, const Tensor& grad_update,
                        const Tensor& norm_parts, const Tensor& bias_parts);
void DropRowsCpu(const Tensor& from, const Tensor& inputs, int64_t layer, double p,
                 const Tensor& to);
void ColumnSumsCpu(std::string_view activation, const Maybe& hidden, const Tensor& x,
                   bool accumulate, const Tensor& parts);
void WeightGradientCpu(const Tensor& grad, const Tensor& x, bool accumulate, const Tensor& to);
void HeadLossCpu(const Tensor& y, const Tensor& weight, const Tensor& bias, const Tensor& actions,
                 const Tensor& inputs, const Tensor& grad_y, const Tensor& parts);
void SumPartsCpu(const Tensor& parts, const Tensor& places, const Tensor& inputs,
                 const Tensor& gradient, const Tensor& results);
void SquaresCpu(const Tensor& gradient, const Tensor& squares);
void AdamWStepCpu(const Tensor& parameters, const Tensor& first, const Tensor& second,
                  const Tensor& gradient, const Tensor& squares, double clip, const Tensor& inputs,
                  const Tensor& results, const Maybe& bfloat16_copy);

}  // namespace cosdt::agents::update_ops
