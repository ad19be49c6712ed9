// Layers of the update on the CPU (cpu_update.h): forward and backward passes over blocks of rows,
// gradients added to an array that is laid out as the optimiser's.
#pragma once

#include <torch/torch.h>

#include <cstddef>
#include <cstdint>

#include "agents/kernels/fused_norm.h"
#include "agents/kernels/gemm.h"

namespace cosdt::agents {

// A linear layer, or the part of one that computes the outputs [first, first + outputs). The
// layer's parameters are views of the optimiser's array.
class CpuLinear {
 public:
  // `bfloat16`: products of values rounded to bfloat16 (kernels::ProcessorHasBFloat16).
  explicit CpuLinear(const torch::nn::Linear& layer, bool bfloat16 = false);
  CpuLinear(const torch::nn::Linear& layer, bool bfloat16, int64_t first, int64_t outputs);

  int64_t inputs() const { return inputs_; }
  int64_t outputs() const { return outputs_; }
  int64_t first() const { return first_; }
  ptrdiff_t weight_offset() const { return weight_offset_; }  // in the optimiser's array
  ptrdiff_t bias_offset() const { return bias_offset_; }

  // Copies the parameters into the kernels' layout, after every change of them.
  void Pack();

  // to = epilogue(x weight^T + bias), where `to` has Padded(outputs) columns.
  void Forward(kernels::Rows x, int64_t rows, kernels::Epilogue epilogue, kernels::Rows to) const;

  // Adds the gradients of weight and bias to `gradients`, and writes that of x by the epilogue. x
  // has a multiple of kernels::kPanel columns.
  void Backward(kernels::Rows grad, kernels::Rows x, int64_t rows, kernels::Epilogue epilogue,
                kernels::Rows grad_x, float* gradients) const;

 private:
  const float *weight_, *bias_;
  int64_t inputs_, outputs_, first_;
  ptrdiff_t weight_offset_, bias_offset_;
  bool bfloat16_;
  kernels::Packed forward_, backward_;
};

// sum = x + drop(update), y = LayerNorm(sum), for [rows, width]; keeps what the backward pass
// needs.
class CpuAddNorm {
 public:
  CpuAddNorm(int64_t rows, const torch::nn::LayerNorm& norm);

  float* sum(int64_t row) { return sum_.data() + row * width_; }
  float* y(int64_t row) { return y_.data() + row * width_; }

  // Rows [row, row + rows). x and update begin with row `row`; x may be null: 0.
  void Forward(int64_t row, int64_t rows, const float* x, const float* update,
               kernels::DropPattern drop);

  // From the gradients of y and of the sum (or null: 0), which begin with row `row`: those of x (or
  // null: not wanted; it may be grad_sum) and of update. Adds those of the LayerNorm's parameters
  // to `gradients`.
  void Backward(int64_t row, int64_t rows, kernels::DropPattern drop, const float* grad_y,
                const float* grad_sum, float* grad_x, float* grad_update, float* gradients);

 private:
  kernels::AddNorm Op(int64_t row, kernels::DropPattern drop);

  int64_t width_;
  const float *gamma_, *beta_;
  double epsilon_;
  ptrdiff_t gamma_offset_, beta_offset_;
  kernels::Floats sum_, y_, mean_, inverse_std_;
};

}  // namespace cosdt::agents
