#include "agents/training/cpu_layers.h"

#include <algorithm>

namespace cosdt::agents {

using kernels::Epilogue;
using kernels::Rows;

CpuLinear::CpuLinear(const torch::nn::Linear& layer, bool bfloat16)
    : CpuLinear(layer, bfloat16, 0, layer->weight.size(0)) {}

CpuLinear::CpuLinear(const torch::nn::Linear& layer, bool bfloat16, int64_t first, int64_t outputs)
    : inputs_(layer->weight.size(1)),
      outputs_(outputs),
      first_(first),
      weight_offset_(layer->weight.storage_offset() + first * inputs_),
      bias_offset_(layer->bias.storage_offset() + first),
      bfloat16_(bfloat16) {
  weight_ = layer->weight.const_data_ptr<float>() + first * inputs_;
  bias_ = layer->bias.const_data_ptr<float>() + first;
}

void CpuLinear::Pack() {
  kernels::PackWeights(weight_, outputs_, inputs_, true, bfloat16_, forward_);
  kernels::PackWeights(weight_, outputs_, inputs_, false, bfloat16_, backward_);
  std::copy_n(bias_, outputs_, forward_.bias.data());
}

void CpuLinear::Forward(Rows x, int64_t rows, Epilogue epilogue, Rows to) const {
  kernels::Gemm(x, rows, forward_, forward_.bias.data(), 0, forward_.outputs, epilogue, to);
}

void CpuLinear::Backward(Rows grad, Rows x, int64_t rows, Epilogue epilogue, Rows grad_x,
                         float* gradients) const {
  const auto add_product =
      bfloat16_ ? kernels::AddTransposedProductBFloat16 : kernels::AddTransposedProduct;
  add_product(grad, x, rows, 0, outputs_, inputs_, {gradients + weight_offset_, inputs_});
  kernels::AddColumnSums(grad, rows, outputs_, gradients + bias_offset_);
  kernels::Gemm(grad, rows, backward_, backward_.bias.data(), 0, backward_.outputs, epilogue,
                grad_x);
}

CpuAddNorm::CpuAddNorm(int64_t rows, const torch::nn::LayerNorm& norm)
    : width_(norm->weight.numel()),
      gamma_(norm->weight.const_data_ptr<float>()),
      beta_(norm->bias.const_data_ptr<float>()),
      epsilon_(norm->options.eps()),
      gamma_offset_(norm->weight.storage_offset()),
      beta_offset_(norm->bias.storage_offset()),
      sum_(rows * width_),
      y_(rows * width_),
      mean_(rows),
      inverse_std_(rows) {}

kernels::AddNorm CpuAddNorm::Op(int64_t row, kernels::DropPattern drop) {
  kernels::AddNorm op;
  op.width = width_;
  op.first_row = row;
  op.drop = drop;
  op.gamma = gamma_;
  op.beta = beta_;
  op.epsilon = epsilon_;
  op.sum = sum(row);
  op.norm = y(row);
  op.mean = mean_.data() + row;
  op.inverse_std = inverse_std_.data() + row;
  return op;
}

void CpuAddNorm::Forward(int64_t row, int64_t rows, const float* x, const float* update,
                         kernels::DropPattern drop) {
  kernels::AddNorm op = Op(row, drop);
  op.x = x;
  op.update = update;
  kernels::FusedAddNorm(op, 0, rows);
}

void CpuAddNorm::Backward(int64_t row, int64_t rows, kernels::DropPattern drop, const float* grad_y,
                          const float* grad_sum, float* grad_x, float* grad_update,
                          float* gradients) {
  static thread_local kernels::Floats affine;  // of gamma and beta, which may lie apart
  affine.Require(2 * width_);
  std::fill_n(affine.data(), 2 * width_, 0.0f);
  kernels::FusedAddNormBackward(
      Op(row, drop),
      {.grad_sum = grad_sum, .grad_norm = grad_y, .grad_x = grad_x, .grad_update = grad_update}, 0,
      rows, affine.data());
  for (int64_t j = 0; j < width_; ++j) {
    gradients[gamma_offset_ + j] += affine.data()[j];
    gradients[beta_offset_ + j] += affine.data()[width_ + j];
  }
}

}  // namespace cosdt::agents
