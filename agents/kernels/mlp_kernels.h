// What small fully connected networks need besides the products in gemm.h: products with weights as
// they lie in memory, the narrow last layer, Adam, and samples of a tanh Gaussian. One thread,
// float32, in vector instructions chosen at run time. Widths of hidden layers are multiples of
// kPanel.
#pragma once

#include <cstdint>

#include "agents/kernels/gemm.h"

namespace cosdt::agents::kernels {

// to[row] = epilogue(bias + from[row] w) for w [inputs, outputs], row-major, with `outputs` a
// multiple of kPanel. Epilogues are kStore, kRelu and kReluGradient. A null bias counts as zeros.
// A row's result does not depend on the number of rows.
void MultiplyRows(Rows from, int64_t rows, const float* w, int64_t inputs, int64_t outputs,
                  const float* bias, Epilogue epilogue, Rows to);

// to [columns, rows] = from [rows, columns] transposed, both dense, sizes multiples of kPanel.
void Transpose(const float* from, int64_t rows, int64_t columns, float* to);

// A narrow last layer: to[row][o] = bias[o] + the product of hidden[row] and w[o], for w
// [outputs, width]. A null bias counts as zeros.
void NarrowOutputs(Rows hidden, int64_t rows, const float* w, int64_t width, int64_t outputs,
                   const float* bias, Rows to);

// Its hidden layer's gradients before the ReLU, given those of the outputs: to[row] = the sum over
// o of gradients[row][o] w[o] where hidden[row] > 0, else 0. `to` may be `hidden`. Without the ReLU
// if hidden.data is null.
void NarrowHiddenGradients(Rows gradients, int64_t rows, const float* w, int64_t width,
                           int64_t outputs, Rows hidden, Rows to);

// LayerNorm (arXiv 1607.06450, equation 3) over each row's `width` elements, with epsilon 1e-6:
// to[row] = (x[row] - mean) inverse_std scale + shift; statistics[row] = {mean, inverse_std}.
void LayerNormRows(Rows x, int64_t rows, int64_t width, const float* scale, const float* shift,
                   Rows to, Rows statistics);

// The gradients of x before the ReLU that made it, given those of LayerNorm's outputs; those of
// scale and shift are added, unless null. `to` may be `x` or `gradients`.
struct LayerNormOp {
  Rows x, statistics;
  const float* scale;
  float *scale_gradients = nullptr, *shift_gradients = nullptr;
};
void LayerNormReluGradients(Rows gradients, int64_t rows, int64_t width, const LayerNormOp& op,
                            Rows to);

// Adam (arXiv 1412.6980, algorithm 1, as PyTorch computes it) with beta 0.9 and 0.999 and epsilon
// 1e-8.
struct AdamState {
  float *parameters, *first_moment, *second_moment;
};

// Step number `step`, from 1, of n parameters. Then `followers`, unless null, take over the share
// tau of the parameters.
void AdamStep(int64_t n, const float* gradients, int64_t step, double lr, const AdamState& state,
              float* followers = nullptr, float tau = 0);

// n samples, a multiple of kPanel: std = exp(clamp(log_std, -20, 2)), action = tanh(mean + std
// noise), log_prob = the logarithm of action's density, as arrays of n elements.
struct TanhGaussian {
  const float *mean, *log_std, *noise;
  float *std, *action, *log_prob;
};
inline constexpr float kMinLogStd = -20, kMaxLogStd = 2;
void SampleTanhGaussian(int64_t n, const TanhGaussian& samples);

}  // namespace cosdt::agents::kernels
