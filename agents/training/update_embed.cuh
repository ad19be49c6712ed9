// Windows gathered from the data and embedded, with dropout and two LayerNorms, and the gradients.
#pragma once

#include "agents/training/update_norm.cuh"

namespace cosdt::agents::kernels {
namespace {

// The rows of a step's data.
struct Step {
  bool real;
  int64_t row, timestep;
  int64_t action_row;  // of its action input, -1: none

  __device__ int64_t RowOf(int input) const {
    return !real ? -1 : input == step_tokens::kAction ? action_row : row;
  }
};

__device__ Step StepAt(const EmbedShape& s, const UpdateInputs& inputs, int64_t step) {
  const int64_t b = step / s.context, k = step % s.context;
  const in::Window window = in::WindowAt(inputs.words, inputs.width, s.batch, b);
  if (!window.IsReal(k, s.context)) return {false, 0, 0, -1};
  const int64_t since = window.Since(k, s.context), row = window.row + since;
  const int64_t timestep = window.timestep + since;
  int64_t action_row = row;
  if (step_tokens::ReadsActionBefore(s.tokens_per_step)) action_row = timestep > 0 ? row - 1 : -1;
  return {true, row, min(timestep, s.timestep_limit - 1), action_row};
}

// One of a step's inputs: data [data rows, size].
struct StepInput {
  const float* data;
  int64_t size;
};

__device__ StepInput InputOf(const EmbedShape& s, int input) {
  if (input == step_tokens::kReturnToGo) return {s.returns_to_go, 1};
  if (input == step_tokens::kObservation) return {s.observations, s.observation_size};
  return {s.actions, s.action_size};
}

template <class T, int kGroups, bool kVector>
__global__ void EmbedForwardKernel(EmbedForward op) {
  const EmbedShape& s = op.shape;
  const Dropper drop(op.p, op.p > 0 ? in::KeyAt(op.inputs.words, op.inputs.width, 0) : 0);
  const int width = static_cast<int>(s.width);
  const int64_t rows = s.tokens(), step = int64_t{gridDim.x} * Warps();
  for (int64_t row = int64_t{blockIdx.x} * Warps() + Warp(); row < rows; row += step) {
    const int64_t at = row * width;
    const Step source = StepAt(s, op.inputs, row / s.tokens_per_step);
    RowPart<kGroups> x, part;
    x.Clear();
    for (int input = 0; input < step_tokens::kInputs; ++input) {
      if (step_tokens::TokenOf(input, s.tokens_per_step) != row % s.tokens_per_step) continue;
      const float* const weight = op.weights[input];
      part.template Read<kVector>(op.biases[input], width);
      ForValues(x, width, [&](float& v, int, int g, int i) { v += part.v[g][i]; });
      const int64_t from = source.RowOf(input);
      if (from < 0) continue;
      const StepInput data = InputOf(s, input);
      const int size = static_cast<int>(data.size);
      for (int f = 0; f < size; ++f) {
        const float feature = data.data[from * size + f];
        ForValues(x, width,
                  [&](float& v, int c, int, int) { v += feature * weight[c * size + f]; });
      }
    }
    part.template Read<kVector>(op.table + source.timestep * width, width);
    ForValues(x, width, [&](float& v, int, int g, int i) { v += part.v[g][i]; });
    x.template Write<kVector>(op.tokens + at, width);
    float mean_0, inverse_0, mean, inverse;
    Moments(x, width, static_cast<float>(op.epsilon_0), mean_0, inverse_0);
    ForValues(x, width, [&](float& v, int c, int, int) {
      v = drop(Rounded<T>((v - mean_0) * inverse_0 * op.gamma_0[c] + op.beta_0[c]), at + c);
    });
    x.template Write<kVector>(op.x + at, width);
    Moments(x, width, static_cast<float>(op.epsilon), mean, inverse);
    WriteNormalized<kVector>(x, width, mean, inverse, op.gamma, op.beta,
                             static_cast<T*>(op.y) + at);
    if (Lane() == 0) {
      op.mask[row] = source.real;
      op.statistics_0[row] = mean_0;
      op.statistics_0[rows + row] = inverse_0;
      op.statistics[row] = mean;
      op.statistics[rows + row] = inverse;
    }
  }
}

template <class T, int kGroups, bool kVector>
__global__ void EmbedBackwardKernel(EmbedBackward op) {
  float* const block = SharedFloats();
  const Dropper drop(op.p, op.p > 0 ? in::KeyAt(op.inputs.words, op.inputs.width, 0) : 0);
  const int width = static_cast<int>(op.shape.width);
  const int64_t rows = op.shape.tokens();
  const int64_t each = (rows + op.parts.count - 1) / op.parts.count, part = blockIdx.x;
  const int64_t end = min(rows, (part + 1) * each);
  RowPart<kGroups> gamma, beta, gamma_0, beta_0;
  gamma.Clear();
  beta.Clear();
  gamma_0.Clear();
  beta_0.Clear();
  const int64_t tokens = op.sparse ? op.shape.tokens_per_step : 1;
  const int64_t deciding = step_tokens::DecidingToken(tokens);
  for (int64_t r = part * each + Warp(); r < end; r += Warps()) {
    const int64_t at = r * width;
    RowPart<kGroups> row, grad;
    row.template Read<kVector>(op.x + at, width);
    grad.template Read<kVector>(static_cast<const T*>(op.grad_y) + at, width);
    NormBackward<kGroups, kVector>(row, grad, width, op.statistics[r], op.statistics[rows + r],
                                   op.gamma, gamma, beta);
    if (r % tokens == deciding) {
      grad.template Read<kVector>(op.grad_x + r / tokens * width, width);
      ForValues(row, width, [&](float& v, int, int g, int i) { v += grad.v[g][i]; });
    }
    ForValues(row, width,
              [&](float& v, int c, int g, int i) { grad.v[g][i] = Rounded<T>(drop(v, at + c)); });
    row.template Read<kVector>(op.tokens + at, width);
    NormBackward<kGroups, kVector>(row, grad, width, op.statistics_0[r], op.statistics_0[rows + r],
                                   op.gamma_0, gamma_0, beta_0);
    row.template Write<kVector>(op.grad_tokens + at, width);
  }
  float* const out = op.parts.at + part * op.parts.stride;
  SumWarps<kGroups, kVector>(gamma, width, block, out);
  SumWarps<kGroups, kVector>(beta, width, block, out + width);
  SumWarps<kGroups, kVector>(gamma_0, width, block, out + 2 * width);
  SumWarps<kGroups, kVector>(beta_0, width, block, out + 3 * width);
}

constexpr int kTile = 128;  // windows, or steps, that a block reads at a time

// The row of the timestep table: all tokens of the steps at that time.
__device__ void SumTableRow(const EmbedGradients& op, int64_t timestep) {
  __shared__ int64_t first[kTile];  // steps of all windows, [first, first + count)
  __shared__ int count[kTile];
  const EmbedShape& s = op.shape;
  for (int64_t c0 = 0; c0 < s.width; c0 += blockDim.x) {
    const int64_t c = c0 + threadIdx.x;
    float sum = 0;
    for (int64_t b0 = 0; b0 < s.batch; b0 += kTile) {
      const int64_t b = b0 + threadIdx.x;
      if (threadIdx.x < kTile && b < s.batch) {
        const in::Window w = in::WindowAt(op.inputs.words, op.inputs.width, s.batch, b);
        // timesteps beyond the table are its last row's
        const bool rest = timestep == s.timestep_limit - 1;
        int64_t begin = timestep - w.timestep, end = rest ? w.length : min(begin + 1, w.length);
        if (begin < 0) {
          begin = 0;
          if (!rest) end = 0;
        }
        first[threadIdx.x] = b * s.context + s.context - w.length + begin;
        count[threadIdx.x] = static_cast<int>(max(end - begin, int64_t{0}));
      }
      __syncthreads();
      if (c < s.width) {
        for (int i = 0; i < min(s.batch - b0, int64_t{kTile}); ++i) {
          const float* from = op.grad_tokens + s.tokens_per_step * first[i] * s.width + c;
          for (int row = 0; row < s.tokens_per_step * count[i]; ++row, from += s.width)
            sum += *from;
        }
      }
      __syncthreads();
    }
    if (c < s.width) op.grad_table[timestep * s.width + c] = sum;
  }
}

constexpr int kStepTile = 16;  // steps whose gradients a thread holds

// A part of the gradients of the embeddings' linear layers.
__device__ void SumFeatures(const EmbedGradients& op, int64_t part) {
  __shared__ Step source[kStepTile];
  const EmbedShape& s = op.shape;
  const int64_t steps = s.batch * s.context, width = s.width;
  const int64_t each = (steps + op.parts.count - 1) / op.parts.count;
  const int64_t begin = part * each, end = min(steps, begin + each);
  int64_t s0 = begin;
  do {
    if (threadIdx.x < kStepTile) {
      const int64_t at = s0 + threadIdx.x;
      source[threadIdx.x] = at < end ? StepAt(s, op.inputs, at) : Step{false, 0, 0, -1};
    }
    __syncthreads();
    for (int64_t c = threadIdx.x; c < width; c += blockDim.x) {
      float* at = op.parts.at + part * op.parts.stride;
      for (int input = 0; input < step_tokens::kInputs; ++input) {
        const StepInput data = InputOf(s, input);
        const int64_t size = data.size, token = step_tokens::TokenOf(input, s.tokens_per_step);
        float grad[kStepTile];
        COSDT_UNROLL
        for (int i = 0; i < kStepTile; ++i) {
          const int64_t row = s.tokens_per_step * (s0 + i) + token;
          grad[i] = source[i].real ? op.grad_tokens[row * width + c] : 0.0f;
        }
        for (int64_t f = 0; f <= size; ++f) {  // the last one is the bias
          float sum = 0;
          COSDT_UNROLL
          for (int i = 0; i < kStepTile; ++i) {
            const int64_t row = source[i].RowOf(input);
            sum += (f == size ? 1.0f : row < 0 ? 0.0f : data.data[row * size + f]) * grad[i];
          }
          float* const to = f < size ? at + c * size + f : at + width * size + c;
          *to = s0 == begin ? sum : *to + sum;
        }
        at += width * (size + 1);
      }
    }
    __syncthreads();
    s0 += kStepTile;
  } while (s0 < end);
}

__global__ void EmbedGradientsKernel(EmbedGradients op) {
  const int64_t block = blockIdx.x, table = op.shape.timestep_limit;
  if (block < op.parts.count) {
    SumFeatures(op, block);
  } else if (block - op.parts.count < table) {
    SumTableRow(op, block - op.parts.count);
  }
}

}  // namespace
}  // namespace cosdt::agents::kernels
