// Dropout, residual sums and LayerNorm, and column sums of the MLP's gradients.
#pragma once

#include "agents/training/update_rows.cuh"

namespace cosdt::agents::kernels {
namespace {

template <class T, int kGroups, bool kVector>
__global__ void AddNormForwardKernel(AddNormForward op) {
  const Dropper drop(op.p, op.p > 0 ? in::KeyAt(op.inputs.words, op.inputs.width, op.layer) : 0);
  const int width = static_cast<int>(op.width);
  const int64_t step = int64_t{gridDim.x} * Warps();
  for (int64_t row = int64_t{blockIdx.x} * Warps() + Warp(); row < op.rows; row += step) {
    const int64_t at = row * width;
    RowPart<kGroups> sum, x;
    sum.template Read<kVector>(static_cast<const T*>(op.update) + at, width);
    x.template Read<kVector>(op.x + row * op.x_stride, width);
    ForValues(sum, width, [&](float& v, int c, int g, int i) { v = drop(v, at + c) + x.v[g][i]; });
    sum.template Write<kVector>(op.sum + at, width);
    float mean, inverse;
    Moments(sum, width, static_cast<float>(op.epsilon), mean, inverse);
    WriteNormalized<kVector>(sum, width, mean, inverse, op.gamma, op.beta,
                             static_cast<T*>(op.y) + at);
    if (Lane() == 0) {
      op.statistics[row] = mean;
      op.statistics[op.rows + row] = inverse;
    }
  }
}

template <class T, int kGroups, bool kVector>
__global__ void NormalizeKernel(Normalize op) {
  const int width = static_cast<int>(op.width);
  const int64_t step = int64_t{gridDim.x} * Warps();
  for (int64_t row = int64_t{blockIdx.x} * Warps() + Warp(); row < op.rows; row += step) {
    RowPart<kGroups> sum;
    sum.template Read<kVector>(op.sum + row * width, width);
    WriteNormalized<kVector>(sum, width, op.statistics[row], op.statistics[op.rows + row], op.gamma,
                             op.beta, static_cast<T*>(op.y) + row * width);
  }
}

// The sums of all warps' parts of columns, in the warps' order, to `out`.
// `block` has a row for each warp. All threads must call it.
template <int kGroups, bool kVector>
__device__ void SumWarps(const RowPart<kGroups>& part, int width, float* block, float* out) {
  part.template Write<kVector>(block + Warp() * width, width);
  __syncthreads();
  for (int c = threadIdx.x; c < width; c += blockDim.x) {
    float sum = block[c];
    for (int warp = 1; warp < Warps(); ++warp) sum += block[warp * width + c];
    out[c] = sum;
  }
  __syncthreads();
}

// The gradient of a LayerNorm's input from that of its output: with n^ the
// normalized row and g = gamma grad_y, inverse (g - mean(g) - n^ mean(g n^)).
// `row` holds the input and then the gradient; adds to the sums of gamma's and
// beta's gradients.
template <int kGroups, bool kVector>
__device__ void NormBackward(RowPart<kGroups>& row, const RowPart<kGroups>& grad_y, int width,
                             float mean, float inverse, const float* gamma,
                             RowPart<kGroups>& grad_gamma, RowPart<kGroups>& grad_beta) {
  RowPart<kGroups> g;
  g.template Read<kVector>(gamma, width);
  float of_g = 0, of_gn = 0;
  ForValues(g, width, [&](float& v, int, int group, int i) {
    const float n = (row.v[group][i] - mean) * inverse, gy = grad_y.v[group][i];
    row.v[group][i] = n;
    grad_gamma.v[group][i] += gy * n;
    grad_beta.v[group][i] += gy;
    v *= gy;
    of_g += v;
    of_gn += v * n;
  });
  of_g = WarpSum(of_g) / static_cast<float>(width);
  of_gn = WarpSum(of_gn) / static_cast<float>(width);
  ForValues(row, width, [&](float& n, int, int group, int i) {
    n = inverse * (g.v[group][i] - of_g - n * of_gn);
  });
}

template <class T, int kGroups, bool kVector>
__global__ void AddNormBackwardKernel(AddNormBackward op) {
  float* const block = SharedFloats();
  const Dropper drop(op.p, op.p > 0 ? in::KeyAt(op.inputs.words, op.inputs.width, op.layer) : 0);
  const int width = static_cast<int>(op.width);
  const int64_t each = (op.rows + op.norm.count - 1) / op.norm.count, part = blockIdx.x;
  const int64_t end = min(op.rows, (part + 1) * each);
  RowPart<kGroups> gamma, beta, bias;
  gamma.Clear();
  beta.Clear();
  bias.Clear();
  const int64_t deciding = step_tokens::DecidingToken(op.tokens);
  for (int64_t r = part * each + Warp(); r < end; r += Warps()) {
    const int64_t at = r * width;
    RowPart<kGroups> row, grad;
    row.template Read<kVector>(op.sum + at, width);
    grad.template Read<kVector>(static_cast<const T*>(op.grad_y) + at, width);
    NormBackward<kGroups, kVector>(row, grad, width, op.statistics[r], op.statistics[op.rows + r],
                                   op.gamma, gamma, beta);
    if (op.grad_sum && r % op.tokens == deciding) {
      grad.template Read<kVector>(op.grad_sum + r / op.tokens * width, width);
      ForValues(row, width, [&](float& v, int, int g, int i) { v += grad.v[g][i]; });
    }
    row.template Write<kVector>(op.grad_x + at, width);
    ForValues(row, width, [&](float& v, int c, int g, int i) {
      v = Rounded<T>(drop(v, at + c));
      bias.v[g][i] += v;
    });
    row.template Write<kVector>(static_cast<T*>(op.grad_update) + at, width);
  }
  float* const norm = op.norm.at + part * op.norm.stride;
  SumWarps<kGroups, kVector>(gamma, width, block, norm);
  SumWarps<kGroups, kVector>(beta, width, block, norm + width);
  SumWarps<kGroups, kVector>(bias, width, block, op.bias.at + part * op.bias.stride);
}

template <class T, bool kVector>
__global__ void DropRowsKernel(DropRows op) {
  const Dropper drop(op.p, op.p > 0 ? in::KeyAt(op.inputs.words, op.inputs.width, op.layer) : 0);
  const int64_t groups = (op.width + kGroup - 1) / kGroup, all = op.rows * groups;
  const int width = static_cast<int>(op.width);
  const T* const from = static_cast<const T*>(op.from);
  T* const to = static_cast<T*>(op.to);
  const int64_t deciding = step_tokens::DecidingToken(op.tokens);
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < all;
       i += int64_t{gridDim.x} * blockDim.x) {
    const int64_t row = i / groups;
    const int c = static_cast<int>(i % groups) * kGroup;
    float v[kGroup];
    const int64_t among_all = op.tokens * row + deciding;
    Load<kVector>(from + (op.mode == DropRows::kGather ? among_all : row) * width, c, width, v);
    for (int j = 0; j < kGroup; ++j) v[j] = drop(v[j], row * width + c + j);
    if (op.mode != DropRows::kScatter) {
      Store<kVector>(to + row * width, c, width, v);
      continue;
    }
    const float zeros[kGroup] = {};
    for (int64_t r = op.tokens * row; r < op.tokens * (row + 1); ++r) {
      if (r != among_all) Store<kVector>(to + r * width, c, width, zeros);
    }
    Store<kVector>(to + among_all * width, c, width, v);
  }
}

__device__ float GeluSlope(float x) {
  return 0.5f * (1 + erff(x * 0.70710678118654752f)) +
         x * 0.39894228040143268f * expf(-0.5f * x * x);
}

constexpr int kColumnRows = 8;  // rows side by side in a block

// A block sums 128 columns of a part of the rows.
template <class T, bool kVector>
__global__ void ColumnSumsKernel(ColumnSums op) {
  __shared__ float sums[kColumnRows][kLanes * kGroup];
  const int width = static_cast<int>(op.width), first = blockIdx.y * kLanes * kGroup;
  const int c = first + threadIdx.x * kGroup;
  const int64_t each = (op.rows + op.parts.count - 1) / op.parts.count, part = blockIdx.x;
  const int64_t end = min(op.rows, (part + 1) * each);
  const T* const hidden = static_cast<const T*>(op.hidden);
  T* const x = static_cast<T*>(op.x);
  float sum[kGroup] = {};
  COSDT_UNROLL_4
  for (int64_t r = part * each + threadIdx.y; r < end; r += kColumnRows) {
    float v[kGroup];
    Load<kVector>(x + r * width, c, width, v);
    if (op.slope != ColumnSums::kNone) {
      float h[kGroup];
      Load<kVector>(hidden + r * width, c, width, h);
      for (int i = 0; i < kGroup; ++i) {
        if (op.slope == ColumnSums::kRelu) {
          // a NaN stays a NaN
          v[i] = h[i] <= 0 ? 0.0f : v[i];
        } else {
          v[i] = Rounded<T>(v[i] * GeluSlope(h[i]));
        }
      }
      Store<kVector>(x + r * width, c, width, v);
    }
    for (int i = 0; i < kGroup; ++i) sum[i] += v[i];
  }
  for (int i = 0; i < kGroup; ++i) sums[threadIdx.y][threadIdx.x * kGroup + i] = sum[i];
  __syncthreads();
  const int thread = threadIdx.y * kLanes + threadIdx.x;
  if (thread < kLanes * kGroup && first + thread < width) {
    float* const to = op.parts.at + part * op.parts.stride + first + thread;
    float total = op.accumulate ? *to : 0;
    for (int i = 0; i < kColumnRows; ++i) total += sums[i][thread];
    *to = total;
  }
}

}  // namespace
}  // namespace cosdt::agents::kernels
