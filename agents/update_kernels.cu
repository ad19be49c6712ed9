#include "agents/update_kernels.h"

#include <algorithm>
#include <type_traits>

#include "agents/update_math.h"

// tests/agents/update_emulation_test.cc compiles this file for the host, with
// its own of what is here
#if defined(__CUDACC__)
#include <cuda_bf16.h>
#include <cuda_runtime.h>

#define COSDT_UNROLL _Pragma("unroll")
#define COSDT_UNROLL_4 _Pragma("unroll 4")

namespace cosdt::agents::kernels {
namespace {

template <class... Parameters, class... Arguments>
void Launch(void (*kernel)(Parameters...), dim3 blocks, dim3 threads,
            size_t shared_bytes, CUstream_st *stream,
            const Arguments &...arguments) {
  kernel<<<blocks, threads, shared_bytes, stream>>>(arguments...);
}

// The block's shared memory of the size that the launch asked for.
__device__ float *SharedFloats() {
  extern __shared__ float4 shared[];
  return reinterpret_cast<float *>(shared);
}

} // namespace
} // namespace cosdt::agents::kernels
#endif

namespace cosdt::agents::kernels {
namespace {

namespace in = update_inputs;
using update_math::Dropper;

constexpr int kLanes = 32;
constexpr unsigned kAll = 0xffffffff;
constexpr int kGroup = 4; // columns that a lane takes at a time

int64_t Blocks(int64_t items, int64_t each) {
  return (items + each - 1) / each;
}

// Blocks of a kernel that walks over its items: a few for every multiprocessor.
int WalkBlocks(int64_t wanted) {
  static thread_local int device = -1, processors = 0;
  int current = 0;
  cudaGetDevice(&current);
  if (current != device) {
    cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount,
                           current);
    device = current;
  }
  return static_cast<int>(
      std::max<int64_t>(1, std::min<int64_t>(wanted, 16L * processors)));
}

__device__ float ToFloat(float x) { return x; }
__device__ float ToFloat(__nv_bfloat16 x) { return __bfloat162float(x); }
template <class T> __device__ T FromFloat(float x) {
  if constexpr (std::is_same_v<T, float>) {
    return x;
  } else {
    return __float2bfloat16_rn(x);
  }
}
// x as T holds it
template <class T> __device__ float Rounded(float x) {
  return ToFloat(FromFloat<T>(x));
}

// Four numbers of a row from column c on; zeros behind its end. kVector: rows
// have whole groups, at aligned places.
template <bool kVector>
__device__ void Load(const float *row, int c, int width, float (&v)[kGroup]) {
  if constexpr (kVector) {
    float4 four = make_float4(0, 0, 0, 0);
    if (c < width)
      four = *reinterpret_cast<const float4 *>(row + c);
    v[0] = four.x, v[1] = four.y, v[2] = four.z, v[3] = four.w;
  } else {
    for (int i = 0; i < kGroup; ++i)
      v[i] = c + i < width ? row[c + i] : 0;
  }
}
template <bool kVector>
__device__ void Load(const __nv_bfloat16 *row, int c, int width,
                     float (&v)[kGroup]) {
  if constexpr (kVector) {
    uint2 two = make_uint2(0, 0);
    if (c < width)
      two = *reinterpret_cast<const uint2 *>(row + c);
    v[0] = __uint_as_float(two.x << 16),
    v[1] = __uint_as_float(two.x & 0xffff0000u);
    v[2] = __uint_as_float(two.y << 16),
    v[3] = __uint_as_float(two.y & 0xffff0000u);
  } else {
    for (int i = 0; i < kGroup; ++i)
      v[i] = c + i < width ? ToFloat(row[c + i]) : 0;
  }
}
template <bool kVector>
__device__ void Store(float *row, int c, int width, const float (&v)[kGroup]) {
  if constexpr (kVector) {
    if (c < width)
      *reinterpret_cast<float4 *>(row + c) =
          make_float4(v[0], v[1], v[2], v[3]);
  } else {
    for (int i = 0; i < kGroup; ++i) {
      if (c + i < width)
        row[c + i] = v[i];
    }
  }
}
template <bool kVector>
__device__ void Store(__nv_bfloat16 *row, int c, int width,
                      const float (&v)[kGroup]) {
  if constexpr (kVector) {
    if (c >= width)
      return;
    const __nv_bfloat162 four[2] = {__floats2bfloat162_rn(v[0], v[1]),
                                    __floats2bfloat162_rn(v[2], v[3])};
    uint2 bits;
    memcpy(&bits, four, sizeof bits);
    *reinterpret_cast<uint2 *>(row + c) = bits;
  } else {
    for (int i = 0; i < kGroup; ++i) {
      if (c + i < width)
        row[c + i] = FromFloat<__nv_bfloat16>(v[i]);
    }
  }
}

// The sum over a warp, in every lane.
__device__ float WarpSum(float x) {
  for (int step = kLanes / 2; step > 0; step /= 2)
    x += __shfl_xor_sync(kAll, x, step);
  return x;
}

__device__ int Lane() { return threadIdx.x % kLanes; }
__device__ int Warp() { return threadIdx.x / kLanes; }
__device__ int Warps() { return blockDim.x / kLanes; }

// The columns of a row that a lane has: kGroups groups of four.
template <int kGroups> struct RowPart {
  float v[kGroups][kGroup];

  static __device__ int Column(int group) {
    return (group * kLanes + Lane()) * kGroup;
  }

  template <bool kVector, class T>
  __device__ void Read(const T *row, int width) {
    COSDT_UNROLL
    for (int g = 0; g < kGroups; ++g)
      Load<kVector>(row, Column(g), width, v[g]);
  }
  template <bool kVector, class T>
  __device__ void Write(T *row, int width) const {
    COSDT_UNROLL
    for (int g = 0; g < kGroups; ++g)
      Store<kVector>(row, Column(g), width, v[g]);
  }
  __device__ void Clear() {
    COSDT_UNROLL
    for (int g = 0; g < kGroups; ++g) {
      for (int i = 0; i < kGroup; ++i)
        v[g][i] = 0;
    }
  }
};

// body(number, column, group, place) for the lane's numbers inside the row.
template <int kGroups, class Body>
__device__ void ForNumbers(RowPart<kGroups> &part, int width,
                           const Body &body) {
  COSDT_UNROLL
  for (int g = 0; g < kGroups; ++g) {
    const int c = RowPart<kGroups>::Column(g);
    COSDT_UNROLL
    for (int i = 0; i < kGroup; ++i) {
      if (c + i < width)
        body(part.v[g][i], c + i, g, i);
    }
  }
}

// LayerNorm of the row in `part`, whose numbers behind the end are 0.
template <int kGroups>
__device__ void Moments(RowPart<kGroups> &part, int width, float epsilon,
                        float &mean, float &inverse) {
  float sum = 0, squares = 0;
  ForNumbers(part, width, [&](float v, int, int, int) { sum += v; });
  mean = WarpSum(sum) / static_cast<float>(width);
  ForNumbers(part, width, [&](float v, int, int, int) {
    squares += (v - mean) * (v - mean);
  });
  inverse = 1 / sqrtf(WarpSum(squares) / static_cast<float>(width) + epsilon);
}

template <bool kVector, int kGroups, class T>
__device__ void WriteNormalized(RowPart<kGroups> &part, int width, float mean,
                                float inverse, const float *gamma,
                                const float *beta, T *to) {
  COSDT_UNROLL
  for (int g = 0; g < kGroups; ++g) {
    const int c = RowPart<kGroups>::Column(g);
    float scale[kGroup], shift[kGroup];
    Load<kVector>(gamma, c, width, scale);
    Load<kVector>(beta, c, width, shift);
    float out[kGroup];
    for (int i = 0; i < kGroup; ++i) {
      out[i] = (part.v[g][i] - mean) * inverse * scale[i] + shift[i];
    }
    Store<kVector>(to, c, width, out);
  }
}

template <class T, int kGroups, bool kVector>
__global__ void AddNormForwardKernel(AddNormForward op) {
  const Dropper drop(
      op.p,
      op.p > 0 ? in::KeyAt(op.inputs.words, op.inputs.width, op.layer) : 0);
  const int width = static_cast<int>(op.width);
  const int64_t step = int64_t{gridDim.x} * Warps();
  for (int64_t row = int64_t{blockIdx.x} * Warps() + Warp(); row < op.rows;
       row += step) {
    const int64_t at = row * width;
    RowPart<kGroups> sum, x;
    sum.template Read<kVector>(static_cast<const T *>(op.update) + at, width);
    x.template Read<kVector>(op.x + row * op.x_stride, width);
    ForNumbers(sum, width, [&](float &v, int c, int g, int i) {
      v = drop(v, at + c) + x.v[g][i];
    });
    sum.template Write<kVector>(op.sum + at, width);
    float mean, inverse;
    Moments(sum, width, static_cast<float>(op.epsilon), mean, inverse);
    WriteNormalized<kVector>(sum, width, mean, inverse, op.gamma, op.beta,
                             static_cast<T *>(op.y) + at);
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
  for (int64_t row = int64_t{blockIdx.x} * Warps() + Warp(); row < op.rows;
       row += step) {
    RowPart<kGroups> sum;
    sum.template Read<kVector>(op.sum + row * width, width);
    WriteNormalized<kVector>(sum, width, op.statistics[row],
                             op.statistics[op.rows + row], op.gamma, op.beta,
                             static_cast<T *>(op.y) + row * width);
  }
}

// The sums of all warps' parts of columns, in the warps' order, to `out`.
// `block` has a row for each warp. All threads must call it.
template <int kGroups, bool kVector>
__device__ void SumWarps(const RowPart<kGroups> &part, int width, float *block,
                         float *out) {
  part.template Write<kVector>(block + Warp() * width, width);
  __syncthreads();
  for (int c = threadIdx.x; c < width; c += blockDim.x) {
    float sum = block[c];
    for (int warp = 1; warp < Warps(); ++warp)
      sum += block[warp * width + c];
    out[c] = sum;
  }
  __syncthreads();
}

// The gradient of a LayerNorm's input from that of its output: with n^ the
// normalised row and g = gamma grad_y, inverse (g - mean(g) - n^ mean(g n^)).
// `row` holds the input and then the gradient; adds to the sums of gamma's and
// beta's gradients.
template <int kGroups, bool kVector>
__device__ void
NormBackward(RowPart<kGroups> &row, const RowPart<kGroups> &grad_y, int width,
             float mean, float inverse, const float *gamma,
             RowPart<kGroups> &grad_gamma, RowPart<kGroups> &grad_beta) {
  RowPart<kGroups> g;
  g.template Read<kVector>(gamma, width);
  float of_g = 0, of_gn = 0;
  ForNumbers(g, width, [&](float &v, int, int group, int i) {
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
  ForNumbers(row, width, [&](float &n, int, int group, int i) {
    n = inverse * (g.v[group][i] - of_g - n * of_gn);
  });
}

template <class T, int kGroups, bool kVector>
__global__ void AddNormBackwardKernel(AddNormBackward op) {
  float *const block = SharedFloats();
  const Dropper drop(
      op.p,
      op.p > 0 ? in::KeyAt(op.inputs.words, op.inputs.width, op.layer) : 0);
  const int width = static_cast<int>(op.width);
  const int64_t each = (op.rows + op.norm.count - 1) / op.norm.count,
                part = blockIdx.x;
  const int64_t end = min(op.rows, (part + 1) * each);
  RowPart<kGroups> gamma, beta, bias;
  gamma.Clear();
  beta.Clear();
  bias.Clear();
  for (int64_t r = part * each + Warp(); r < end; r += Warps()) {
    const int64_t at = r * width;
    RowPart<kGroups> row, grad;
    row.template Read<kVector>(op.sum + at, width);
    grad.template Read<kVector>(static_cast<const T *>(op.grad_y) + at, width);
    NormBackward<kGroups, kVector>(row, grad, width, op.statistics[r],
                                   op.statistics[op.rows + r], op.gamma, gamma,
                                   beta);
    if (op.grad_sum && (!op.sparse || r % 3 == 1)) {
      grad.template Read<kVector>(
          op.grad_sum + (op.sparse ? r / 3 * width : at), width);
      ForNumbers(row, width,
                 [&](float &v, int, int g, int i) { v += grad.v[g][i]; });
    }
    row.template Write<kVector>(op.grad_x + at, width);
    ForNumbers(row, width, [&](float &v, int c, int g, int i) {
      v = Rounded<T>(drop(v, at + c));
      bias.v[g][i] += v;
    });
    row.template Write<kVector>(static_cast<T *>(op.grad_update) + at, width);
  }
  float *const norm = op.norm.at + part * op.norm.stride;
  SumWarps<kGroups, kVector>(gamma, width, block, norm);
  SumWarps<kGroups, kVector>(beta, width, block, norm + width);
  SumWarps<kGroups, kVector>(bias, width, block,
                             op.bias.at + part * op.bias.stride);
}

// Where the data of a step lies.
struct Step {
  bool real;
  int64_t row, timestep;
};

__device__ Step StepAt(const EmbedShape &s, const UpdateInputs &inputs,
                       int64_t step) {
  const int64_t b = step / s.context, k = step % s.context;
  const in::Window window =
      in::WindowAt(inputs.words, inputs.width, s.batch, b);
  if (!window.IsReal(k, s.context))
    return {false, 0, 0};
  const int64_t since = window.Since(k, s.context);
  return {true, window.row + since,
          min(window.timestep + since, s.timestep_limit - 1)};
}

template <class T, int kGroups, bool kVector>
__global__ void EmbedForwardKernel(EmbedForward op) {
  const EmbedShape &s = op.shape;
  const Dropper drop(
      op.p, op.p > 0 ? in::KeyAt(op.inputs.words, op.inputs.width, 0) : 0);
  const int width = static_cast<int>(s.width);
  const int64_t rows = s.tokens(), step = int64_t{gridDim.x} * Warps();
  for (int64_t row = int64_t{blockIdx.x} * Warps() + Warp(); row < rows;
       row += step) {
    const int64_t at = row * width;
    const int token = static_cast<int>(row % 3);
    const Step source = StepAt(s, op.inputs, row / 3);
    const float *features = s.returns_to_go + source.row,
                *weight = op.return_weight, *bias = op.return_bias;
    int size = 1;
    if (token == 1) {
      size = static_cast<int>(s.observation_size);
      features = s.observations + source.row * size;
      weight = op.observation_weight;
      bias = op.observation_bias;
    } else if (token == 2) {
      size = static_cast<int>(s.action_size);
      features = s.actions + source.row * size;
      weight = op.action_weight;
      bias = op.action_bias;
    }
    RowPart<kGroups> x, time;
    x.template Read<kVector>(bias, width);
    time.template Read<kVector>(op.table + source.timestep * width, width);
    if (source.real) {
      for (int f = 0; f < size; ++f) {
        const float feature = features[f];
        ForNumbers(x, width, [&](float &v, int c, int, int) {
          v += feature * weight[c * size + f];
        });
      }
    }
    ForNumbers(x, width,
               [&](float &v, int, int g, int i) { v += time.v[g][i]; });
    x.template Write<kVector>(op.tokens + at, width);
    float mean_0, inverse_0, mean, inverse;
    Moments(x, width, static_cast<float>(op.epsilon_0), mean_0, inverse_0);
    ForNumbers(x, width, [&](float &v, int c, int, int) {
      v = drop(
          Rounded<T>((v - mean_0) * inverse_0 * op.gamma_0[c] + op.beta_0[c]),
          at + c);
    });
    x.template Write<kVector>(op.x + at, width);
    Moments(x, width, static_cast<float>(op.epsilon), mean, inverse);
    WriteNormalized<kVector>(x, width, mean, inverse, op.gamma, op.beta,
                             static_cast<T *>(op.y) + at);
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
  float *const block = SharedFloats();
  const Dropper drop(
      op.p, op.p > 0 ? in::KeyAt(op.inputs.words, op.inputs.width, 0) : 0);
  const int width = static_cast<int>(op.shape.width);
  const int64_t rows = op.shape.tokens();
  const int64_t each = (rows + op.parts.count - 1) / op.parts.count,
                part = blockIdx.x;
  const int64_t end = min(rows, (part + 1) * each);
  RowPart<kGroups> gamma, beta, gamma_0, beta_0;
  gamma.Clear();
  beta.Clear();
  gamma_0.Clear();
  beta_0.Clear();
  for (int64_t r = part * each + Warp(); r < end; r += Warps()) {
    const int64_t at = r * width;
    RowPart<kGroups> row, grad;
    row.template Read<kVector>(op.x + at, width);
    grad.template Read<kVector>(static_cast<const T *>(op.grad_y) + at, width);
    NormBackward<kGroups, kVector>(row, grad, width, op.statistics[r],
                                   op.statistics[rows + r], op.gamma, gamma,
                                   beta);
    if (!op.sparse || r % 3 == 1) {
      grad.template Read<kVector>(op.grad_x + (op.sparse ? r / 3 * width : at),
                                  width);
      ForNumbers(row, width,
                 [&](float &v, int, int g, int i) { v += grad.v[g][i]; });
    }
    ForNumbers(row, width, [&](float &v, int c, int g, int i) {
      grad.v[g][i] = Rounded<T>(drop(v, at + c));
    });
    row.template Read<kVector>(op.tokens + at, width);
    NormBackward<kGroups, kVector>(row, grad, width, op.statistics_0[r],
                                   op.statistics_0[rows + r], op.gamma_0,
                                   gamma_0, beta_0);
    row.template Write<kVector>(op.grad_tokens + at, width);
  }
  float *const out = op.parts.at + part * op.parts.stride;
  SumWarps<kGroups, kVector>(gamma, width, block, out);
  SumWarps<kGroups, kVector>(beta, width, block, out + width);
  SumWarps<kGroups, kVector>(gamma_0, width, block, out + 2 * width);
  SumWarps<kGroups, kVector>(beta_0, width, block, out + 3 * width);
}

constexpr int kTile = 128; // windows, or steps, that a block looks at at a time

// The row of the timestep table: all tokens of the steps at that time.
__device__ void SumTableRow(const EmbedGradients &op, int64_t timestep) {
  __shared__ int64_t
      first[kTile]; // steps of all windows, [first, first + count)
  __shared__ int count[kTile];
  const EmbedShape &s = op.shape;
  for (int64_t c0 = 0; c0 < s.width; c0 += blockDim.x) {
    const int64_t c = c0 + threadIdx.x;
    float sum = 0;
    for (int64_t b0 = 0; b0 < s.batch; b0 += kTile) {
      const int64_t b = b0 + threadIdx.x;
      if (threadIdx.x < kTile && b < s.batch) {
        const in::Window w =
            in::WindowAt(op.inputs.words, op.inputs.width, s.batch, b);
        // timesteps beyond the table are its last row's
        const bool rest = timestep == s.timestep_limit - 1;
        int64_t begin = timestep - w.timestep,
                end = rest ? w.length : min(begin + 1, w.length);
        if (begin < 0) {
          begin = 0;
          if (!rest)
            end = 0;
        }
        first[threadIdx.x] = b * s.context + s.context - w.length + begin;
        count[threadIdx.x] = static_cast<int>(max(end - begin, int64_t{0}));
      }
      __syncthreads();
      if (c < s.width) {
        for (int i = 0; i < min(s.batch - b0, int64_t{kTile}); ++i) {
          const float *from = op.grad_tokens + 3 * first[i] * s.width + c;
          for (int row = 0; row < 3 * count[i]; ++row, from += s.width)
            sum += *from;
        }
      }
      __syncthreads();
    }
    if (c < s.width)
      op.grad_table[timestep * s.width + c] = sum;
  }
}

constexpr int kStepTile = 16; // steps whose gradients a thread holds

// A part of the gradients of the embeddings' linear layers.
__device__ void SumFeatures(const EmbedGradients &op, int64_t part) {
  __shared__ int64_t source[kStepTile]; // row of the data, or -1
  const EmbedShape &s = op.shape;
  const int64_t steps = s.batch * s.context, width = s.width;
  const int64_t each = (steps + op.parts.count - 1) / op.parts.count;
  const int64_t begin = part * each, end = min(steps, begin + each);
  int64_t s0 = begin;
  do {
    if (threadIdx.x < kStepTile) {
      const int64_t at = s0 + threadIdx.x;
      const Step step = at < end ? StepAt(s, op.inputs, at) : Step{false, 0, 0};
      source[threadIdx.x] = step.real ? step.row : -1;
    }
    __syncthreads();
    for (int64_t c = threadIdx.x; c < width; c += blockDim.x) {
      float *at = op.parts.at + part * op.parts.stride;
      for (int token = 0; token < 3; ++token) {
        const int64_t size = token == 0   ? 1
                             : token == 1 ? s.observation_size
                                          : s.action_size;
        const float *const data = token == 0   ? s.returns_to_go
                                  : token == 1 ? s.observations
                                               : s.actions;
        float grad[kStepTile];
        COSDT_UNROLL
        for (int i = 0; i < kStepTile; ++i) {
          grad[i] = source[i] < 0
                        ? 0.0f
                        : op.grad_tokens[(3 * (s0 + i) + token) * width + c];
        }
        for (int64_t f = 0; f <= size; ++f) { // the last one is the bias
          float sum = 0;
          COSDT_UNROLL
          for (int i = 0; i < kStepTile; ++i) {
            const int64_t row = source[i] < 0 ? 0 : source[i];
            sum += (f < size ? data[row * size + f] : 1.0f) * grad[i];
          }
          float *const to =
              f < size ? at + c * size + f : at + width * size + c;
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

template <class T, bool kVector> __global__ void DropRowsKernel(DropRows op) {
  const Dropper drop(
      op.p,
      op.p > 0 ? in::KeyAt(op.inputs.words, op.inputs.width, op.layer) : 0);
  const int64_t groups = (op.width + kGroup - 1) / kGroup,
                all = op.rows * groups;
  const int width = static_cast<int>(op.width);
  const T *const from = static_cast<const T *>(op.from);
  T *const to = static_cast<T *>(op.to);
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < all;
       i += int64_t{gridDim.x} * blockDim.x) {
    const int64_t row = i / groups;
    const int c = static_cast<int>(i % groups) * kGroup;
    float v[kGroup];
    Load<kVector>(from + (op.mode == DropRows::kGather ? 3 * row + 1 : row) *
                             width,
                  c, width, v);
    for (int j = 0; j < kGroup; ++j)
      v[j] = drop(v[j], row * width + c + j);
    if (op.mode != DropRows::kScatter) {
      Store<kVector>(to + row * width, c, width, v);
      continue;
    }
    const float zeros[kGroup] = {};
    Store<kVector>(to + 3 * row * width, c, width, zeros);
    Store<kVector>(to + (3 * row + 1) * width, c, width, v);
    Store<kVector>(to + (3 * row + 2) * width, c, width, zeros);
  }
}

__device__ float GeluSlope(float x) {
  return 0.5f * (1 + erff(x * 0.70710678118654752f)) +
         x * 0.39894228040143268f * expf(-0.5f * x * x);
}

constexpr int kColumnRows = 8; // rows side by side in a block

// A block sums 128 columns of a part of the rows.
template <class T, bool kVector>
__global__ void ColumnSumsKernel(ColumnSums op) {
  __shared__ float sums[kColumnRows][kLanes * kGroup];
  const int width = static_cast<int>(op.width),
            first = blockIdx.y * kLanes * kGroup;
  const int c = first + threadIdx.x * kGroup;
  const int64_t each = (op.rows + op.parts.count - 1) / op.parts.count,
                part = blockIdx.x;
  const int64_t end = min(op.rows, (part + 1) * each);
  const T *const hidden = static_cast<const T *>(op.hidden);
  T *const x = static_cast<T *>(op.x);
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
          // NaN stays: it must not be hidden
          v[i] = h[i] <= 0 ? 0.0f : v[i];
        } else {
          v[i] = Rounded<T>(v[i] * GeluSlope(h[i]));
        }
      }
      Store<kVector>(x + r * width, c, width, v);
    }
    for (int i = 0; i < kGroup; ++i)
      sum[i] += v[i];
  }
  for (int i = 0; i < kGroup; ++i)
    sums[threadIdx.y][threadIdx.x * kGroup + i] = sum[i];
  __syncthreads();
  const int thread = threadIdx.y * kLanes + threadIdx.x;
  if (thread < kLanes * kGroup && first + thread < width) {
    float *const to = op.parts.at + part * op.parts.stride + first + thread;
    float total = op.accumulate ? *to : 0;
    for (int i = 0; i < kColumnRows; ++i)
      total += sums[i][thread];
    *to = total;
  }
}

constexpr int kHeadRows = 32; // rows of a tile

template <class T, int kGroups, bool kVector>
__global__ void HeadLossKernel(HeadLoss op) {
  float *const grad =
      SharedFloats();              // [kHeadRows, actions], of tanh's argument
  __shared__ float losses[kLanes]; // of each warp
  const int width = static_cast<int>(op.width),
            actions = static_cast<int>(op.action_size);
  const int64_t rows = op.batch * op.context;
  const int64_t each = (rows + op.parts.count - 1) / op.parts.count,
                part = blockIdx.x;
  const int64_t begin = part * each, end = min(rows, begin + each);
  const auto real_steps =
      static_cast<float>(op.inputs.words[op.inputs.width + in::kReal]);
  const float share = 1 / (real_steps * static_cast<float>(actions));
  float *const out = op.parts.at + part * op.parts.stride;
  float loss = 0;
  int64_t r0 = begin;
  do {
    const int n =
        static_cast<int>(max(int64_t{0}, min(end - r0, int64_t{kHeadRows})));
    for (int i = Warp(); i < n; i += Warps()) {
      const int64_t row = r0 + i, b = row / op.context, k = row % op.context;
      const in::Window w =
          in::WindowAt(op.inputs.words, op.inputs.width, op.batch, b);
      const bool real = w.IsReal(k, op.context);
      const float *const target =
          op.actions + (real ? w.row + w.Since(k, op.context) : 0) * actions;
      RowPart<kGroups> y, grad_y;
      y.template Read<kVector>(static_cast<const T *>(op.y) + row * width,
                               width);
      grad_y.Clear();
      for (int a = 0; a < actions; ++a) {
        RowPart<kGroups> weight;
        weight.template Read<kVector>(op.weight + a * width, width);
        float dot = 0;
        ForNumbers(y, width, [&](float v, int, int g, int j) {
          dot += v * weight.v[g][j];
        });
        const float predicted = tanhf(WarpSum(dot) + op.bias[a]);
        float slope = 0;
        if (real) {
          const float error = predicted - target[a];
          loss += error * error * share;
          slope = 2 * error * share * (1 - predicted * predicted);
        }
        if (Lane() == 0)
          grad[i * actions + a] = slope;
        ForNumbers(grad_y, width, [&](float &v, int, int g, int j) {
          v += slope * weight.v[g][j];
        });
      }
      grad_y.template Write<kVector>(static_cast<T *>(op.grad_y) + row * width,
                                     width);
    }
    __syncthreads();
    for (int j = threadIdx.x; j < actions * (width + 1); j += blockDim.x) {
      const bool bias = j >= actions * width;
      const int a = bias ? j - actions * width : j / width,
                c = bias ? 0 : j % width;
      const T *const y = static_cast<const T *>(op.y) + r0 * width + c;
      float sum = 0;
      for (int i = 0; i < n; ++i) {
        sum += grad[i * actions + a] *
               (bias ? 1.0f : ToFloat(y[int64_t{i} * width]));
      }
      out[j] = r0 == begin ? sum : out[j] + sum;
    }
    __syncthreads();
    r0 += kHeadRows;
  } while (r0 < end);
  if (Lane() == 0)
    losses[Warp()] = loss;
  __syncthreads();
  if (threadIdx.x == 0) {
    float total = 0;
    for (int i = 0; i < Warps(); ++i)
      total += losses[i];
    out[actions * (width + 1)] = total;
  }
}

constexpr int kSumRows = 8;

__global__ void SumPartsKernel(SumParts op) {
  __shared__ float sums[kSumRows][kLanes];
  const int64_t c = int64_t{blockIdx.x} * kLanes + threadIdx.x;
  float sum = 0;
  if (c < op.columns) {
    COSDT_UNROLL_4
    for (int64_t p = threadIdx.y; p < op.parts.count; p += kSumRows) {
      sum += op.parts.at[p * op.parts.stride + c];
    }
  }
  sums[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y != 0 || c >= op.columns)
    return;
  for (int i = 1; i < kSumRows; ++i)
    sum += sums[i][threadIdx.x];
  if (c + 1 == op.columns) {
    op.results[2 * op.inputs.words[in::kDone]] = sum;
  } else {
    op.gradient[op.places[c]] = sum;
  }
}

constexpr int kThreads = 256;

// The sum over a block of kThreads threads, for thread 0.
template <class T> __device__ T BlockSum(T x) {
  __shared__ T sums[kThreads / kLanes];
  for (int step = kLanes / 2; step > 0; step /= 2)
    x += __shfl_xor_sync(kAll, x, step);
  if (Lane() == 0)
    sums[Warp()] = x;
  __syncthreads();
  T total = 0;
  if (threadIdx.x == 0) {
    for (int i = 0; i < kThreads / kLanes; ++i)
      total += sums[i];
  }
  return total;
}

__global__ void SquaresKernel(Squares op) {
  float sum = 0;
  const int64_t groups = op.size / kGroup, step = int64_t{gridDim.x} * kThreads;
  COSDT_UNROLL_4
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < groups;
       i += step) {
    const float4 g = reinterpret_cast<const float4 *>(op.gradient)[i];
    sum += g.x * g.x + g.y * g.y + g.z * g.z + g.w * g.w;
  }
  sum = BlockSum(sum);
  if (threadIdx.x == 0)
    op.squares[blockIdx.x] = sum;
}

// Steps, or leaves all as it is where the loss or the gradient is not finite,
// here or in an update before. The last block to be done makes the next
// update's inputs ready.
__global__ void AdamWKernel(AdamWStep op) {
  __shared__ update_math::AdamWNumbers numbers;
  __shared__ bool change, last;
  int64_t *const words = op.inputs.words;
  double sum = 0;
  for (int64_t i = threadIdx.x; i < op.squares_count; i += kThreads)
    sum += op.squares[i];
  sum = BlockSum(sum);
  const int64_t update = words[in::kDone];
  float norm = 0;
  bool finite = false;
  if (threadIdx.x == 0) {
    norm = static_cast<float>(sqrt(sum));
    const int64_t *const scalars = words + op.inputs.width;
    finite = isfinite(norm) && isfinite(op.results[2 * update]);
    change = finite && words[in::kFirstBad] == 0;
    numbers = {
        static_cast<float>(__longlong_as_double(scalars[in::kDecay])),
        static_cast<float>(__longlong_as_double(scalars[in::kRootCorrection])),
        static_cast<float>(__longlong_as_double(scalars[in::kRate])),
        static_cast<float>(update_math::ClipScale(norm, op.clip))};
  }
  __syncthreads();
  if (change) {
    const int64_t groups = op.size / kGroup,
                  step = int64_t{gridDim.x} * kThreads;
    for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < groups;
         i += step) {
      const int c = 0;
      float p[kGroup], g[kGroup], m[kGroup], v[kGroup];
      Load<true>(op.parameters + i * kGroup, c, kGroup, p);
      Load<true>(op.gradient + i * kGroup, c, kGroup, g);
      Load<true>(op.first + i * kGroup, c, kGroup, m);
      Load<true>(op.second + i * kGroup, c, kGroup, v);
      for (int j = 0; j < kGroup; ++j)
        p[j] = numbers(p[j], g[j], m[j], v[j]);
      Store<true>(op.parameters + i * kGroup, c, kGroup, p);
      Store<true>(op.first + i * kGroup, c, kGroup, m);
      Store<true>(op.second + i * kGroup, c, kGroup, v);
      if (op.half)
        Store<true>(static_cast<__nv_bfloat16 *>(op.half) + i * kGroup, c,
                    kGroup, p);
    }
  }
  if (threadIdx.x == 0) {
    __threadfence();
    const unsigned ticket = atomicInc(
        reinterpret_cast<unsigned *>(words + in::kTicket), gridDim.x - 1);
    last = ticket == gridDim.x - 1;
  }
  __syncthreads();
  if (!last)
    return;
  // every other block has read what changes now
  if (threadIdx.x == 0) {
    op.results[2 * update + 1] = norm;
    if (!finite && words[in::kFirstBad] == 0)
      words[in::kFirstBad] = update + 1;
    words[in::kDone] = update + 1;
  }
  if (update + 2 < op.inputs.rows) {
    for (int64_t i = threadIdx.x; i < op.inputs.width; i += kThreads) {
      words[op.inputs.width + i] = words[(update + 2) * op.inputs.width + i];
    }
  }
}

bool Aligned(const void *at) {
  return reinterpret_cast<uintptr_t>(at) % 16 == 0;
}

template <class... Arrays>
bool VectorsFit(int64_t width, const Arrays *...arrays) {
  return width % kGroup == 0 && (... && (arrays == nullptr || Aligned(arrays)));
}

template <int kGroups> using Groups = std::integral_constant<int, kGroups>;

// body(a T, Groups<as many as the width needs>, whether vectors fit)
template <class Body>
void Choose(bool half, int64_t width, bool vector, const Body &body) {
  const auto with_groups = [&](auto type, auto fits) {
    const int64_t needed = Blocks(width, kLanes * kGroup);
    if (needed <= 1)
      return body(type, Groups<1>(), fits);
    if (needed <= 2)
      return body(type, Groups<2>(), fits);
    return body(type, Groups<kMostColumns / (kLanes * kGroup)>(), fits);
  };
  const auto with_type = [&](auto type) {
    if (vector)
      return with_groups(type, std::true_type());
    return with_groups(type, std::false_type());
  };
  if (half)
    return with_type(__nv_bfloat16());
  return with_type(float());
}

// Threads of a block that adds up parts: many where registers allow it.
template <int kGroups> constexpr int kPartThreads = kGroups <= 2 ? 512 : 256;

// Shared memory of such a block.
size_t PartBytes(int threads, int64_t width) {
  return static_cast<size_t>(threads / kLanes * width) * sizeof(float);
}

constexpr int kRowWarps = 4; // of a block whose warps take a row each

} // namespace

void Run(const EmbedForward &op, CUstream_st *stream) {
  const int64_t width = op.shape.width;
  const bool vector =
      VectorsFit(width, op.table, op.return_bias, op.observation_bias,
                 op.action_bias, op.gamma_0, op.beta_0, op.gamma, op.beta,
                 op.tokens, op.x, static_cast<const float *>(op.y));
  Choose(op.half, width, vector, [&](auto type, auto groups, auto fits) {
    Launch(EmbedForwardKernel<decltype(type), groups(), fits()>,
           WalkBlocks(Blocks(op.shape.tokens(), kRowWarps)), kRowWarps * kLanes,
           0, stream, op);
  });
}

void Run(const EmbedBackward &op, CUstream_st *stream) {
  const int64_t width = op.shape.width;
  const bool vector =
      VectorsFit(width, op.gamma_0, op.gamma, op.tokens, op.x, op.grad_x,
                 op.grad_tokens, static_cast<const float *>(op.grad_y));
  Choose(op.half, width, vector, [&](auto type, auto groups, auto fits) {
    Launch(EmbedBackwardKernel<decltype(type), groups(), fits()>,
           static_cast<unsigned>(op.parts.count), 256, PartBytes(256, width),
           stream, op);
  });
}

void Run(const EmbedGradients &op, CUstream_st *stream) {
  Launch(EmbedGradientsKernel,
         static_cast<unsigned>(op.parts.count + op.shape.timestep_limit), kTile,
         0, stream, op);
}

void Run(const AddNormForward &op, CUstream_st *stream) {
  const bool vector =
      VectorsFit(op.width, op.x, static_cast<const float *>(op.update),
                 op.gamma, op.beta, op.sum, static_cast<const float *>(op.y)) &&
      op.x_stride % kGroup == 0;
  Choose(op.half, op.width, vector, [&](auto type, auto groups, auto fits) {
    Launch(AddNormForwardKernel<decltype(type), groups(), fits()>,
           WalkBlocks(Blocks(op.rows, kRowWarps)), kRowWarps * kLanes, 0,
           stream, op);
  });
}

void Run(const Normalize &op, CUstream_st *stream) {
  const bool vector = VectorsFit(op.width, op.sum, op.gamma, op.beta,
                                 static_cast<const float *>(op.y));
  Choose(op.half, op.width, vector, [&](auto type, auto groups, auto fits) {
    Launch(NormalizeKernel<decltype(type), groups(), fits()>,
           WalkBlocks(Blocks(op.rows, kRowWarps)), kRowWarps * kLanes, 0,
           stream, op);
  });
}

void Run(const AddNormBackward &op, CUstream_st *stream) {
  const bool vector = VectorsFit(
      op.width, op.sum, op.gamma, static_cast<const float *>(op.grad_y),
      op.grad_sum, op.grad_x, static_cast<const float *>(op.grad_update));
  Choose(op.half, op.width, vector, [&](auto type, auto groups, auto fits) {
    Launch(AddNormBackwardKernel<decltype(type), groups(), fits()>,
           static_cast<unsigned>(op.norm.count), kPartThreads<groups()>,
           PartBytes(kPartThreads<groups()>, op.width), stream, op);
  });
}

void Run(const DropRows &op, CUstream_st *stream) {
  const bool vector = VectorsFit(op.width, static_cast<const float *>(op.from),
                                 static_cast<const float *>(op.to));
  const int blocks =
      WalkBlocks(Blocks(op.rows * Blocks(op.width, kGroup), kThreads));
  Choose(op.half, 1, vector, [&](auto type, auto groups, auto fits) {
    if constexpr (groups() == 1) {
      Launch(DropRowsKernel<decltype(type), fits()>, blocks, kThreads, 0,
             stream, op);
    }
  });
}

void Run(const ColumnSums &op, CUstream_st *stream) {
  const bool vector =
      VectorsFit(op.width, static_cast<const float *>(op.hidden),
                 static_cast<const float *>(op.x));
  const dim3 blocks(static_cast<unsigned>(op.parts.count),
                    static_cast<unsigned>(Blocks(op.width, kLanes * kGroup)));
  Choose(op.half, 1, vector, [&](auto type, auto groups, auto fits) {
    if constexpr (groups() == 1) {
      Launch(ColumnSumsKernel<decltype(type), fits()>, blocks,
             dim3(kLanes, kColumnRows), 0, stream, op);
    }
  });
}

void Run(const HeadLoss &op, CUstream_st *stream) {
  const bool vector =
      VectorsFit(op.width, static_cast<const float *>(op.y), op.weight,
                 static_cast<const float *>(op.grad_y));
  Choose(op.half, op.width, vector, [&](auto type, auto groups, auto fits) {
    Launch(HeadLossKernel<decltype(type), groups(), fits()>,
           static_cast<unsigned>(op.parts.count), 256,
           static_cast<unsigned>(kHeadRows * op.action_size * sizeof(float)),
           stream, op);
  });
}

void Run(const SumParts &op, CUstream_st *stream) {
  Launch(SumPartsKernel, static_cast<unsigned>(Blocks(op.columns, kLanes)),
         dim3(kLanes, kSumRows), 0, stream, op);
}

void Run(const Squares &op, CUstream_st *stream) {
  Launch(SquaresKernel, static_cast<unsigned>(op.count), kThreads, 0, stream,
         op);
}

void Run(const AdamWStep &op, CUstream_st *stream) {
  Launch(AdamWKernel, WalkBlocks(Blocks(op.size, kGroup * kThreads)), kThreads,
         0, stream, op);
}

} // namespace cosdt::agents::kernels
