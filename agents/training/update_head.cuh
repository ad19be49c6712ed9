// The head, the loss and their gradients.
#pragma once

#include "agents/training/update_rows.cuh"

namespace cosdt::agents::kernels {
namespace {

constexpr int kHeadRows = 32;  // rows of a tile

// Adds the contribution of a tile's rows r0, .., r0 + n - 1 to a part's gradients of weight and
// bias.
template <class T>
__device__ void AddHeadGradients(const HeadLoss& op, const float* grad, int64_t r0, int n,
                                 bool is_first, float* out) {
  const int width = static_cast<int>(op.width), actions = static_cast<int>(op.action_size);
  for (int j = threadIdx.x; j < actions * (width + 1); j += blockDim.x) {
    const bool bias = j >= actions * width;
    const int a = bias ? j - actions * width : j / width, c = bias ? 0 : j % width;
    const T* const y = static_cast<const T*>(op.y) + r0 * width + c;
    float sum = 0;
    for (int i = 0; i < n; ++i) {
      sum += grad[i * actions + a] * (bias ? 1.0f : ToFloat(y[int64_t{i} * width]));
    }
    out[j] = is_first ? sum : out[j] + sum;
  }
}

template <class T, int kGroups, bool kVector>
__global__ void HeadLossKernel(HeadLoss op) {
  float* const grad = SharedFloats();  // [kHeadRows, actions], of tanh's argument
  __shared__ float losses[kLanes];     // of each warp
  const int width = static_cast<int>(op.width), actions = static_cast<int>(op.action_size);
  const int64_t rows = op.batch * op.context;
  const int64_t each = (rows + op.parts.count - 1) / op.parts.count, part = blockIdx.x;
  const int64_t begin = part * each, end = min(rows, begin + each);
  const auto real_steps = static_cast<float>(op.inputs.words[op.inputs.width + in::kReal]);
  const float share = 1 / (real_steps * static_cast<float>(actions));
  float* const out = op.parts.at + part * op.parts.stride;
  float loss = 0;
  int64_t r0 = begin;
  do {
    const int n = static_cast<int>(max(int64_t{0}, min(end - r0, int64_t{kHeadRows})));
    for (int i = Warp(); i < n; i += Warps()) {
      const int64_t row = r0 + i, b = row / op.context, k = row % op.context;
      const in::Window w = in::WindowAt(op.inputs.words, op.inputs.width, op.batch, b);
      const bool real = w.IsReal(k, op.context);
      const float* const target =
          op.actions + (real ? w.row + w.Since(k, op.context) : 0) * actions;
      RowPart<kGroups> y, grad_y;
      y.template Read<kVector>(static_cast<const T*>(op.y) + row * width, width);
      grad_y.Clear();
      for (int a = 0; a < actions; ++a) {
        RowPart<kGroups> weight;
        weight.template Read<kVector>(op.weight + a * width, width);
        float dot = 0;
        ForValues(y, width, [&](float v, int, int g, int j) { dot += v * weight.v[g][j]; });
        const float predicted = tanhf(WarpSum(dot) + op.bias[a]);
        float slope = 0;
        if (real) {
          const float error = predicted - target[a];
          loss += error * error * share;
          slope = 2 * error * share * (1 - predicted * predicted);
        }
        if (Lane() == 0) grad[i * actions + a] = slope;
        ForValues(grad_y, width, [&](float& v, int, int g, int j) { v += slope * weight.v[g][j]; });
      }
      grad_y.template Write<kVector>(static_cast<T*>(op.grad_y) + row * width, width);
    }
    __syncthreads();
    AddHeadGradients<T>(op, grad, r0, n, r0 == begin, out);
    __syncthreads();
    r0 += kHeadRows;
  } while (r0 < end);
  if (Lane() == 0) losses[Warp()] = loss;
  __syncthreads();
  if (threadIdx.x == 0) {
    float total = 0;
    for (int i = 0; i < Warps(); ++i) total += losses[i];
    out[actions * (width + 1)] = total;
  }
}

}  // namespace
}  // namespace cosdt::agents::kernels
