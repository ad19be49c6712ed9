// Rows of values, one warp per row: the common part of an update's kernels.
#pragma once

#include <type_traits>

#include "agents/training/update_kernels.h"
#include "agents/training/update_math.h"

// tests/agents/training/update_emulation_test.cc compiles the kernels for the host, with its own
// versions of the following
#if defined(__CUDACC__)
#include <cuda_bf16.h>
#include <cuda_runtime.h>

#define COSDT_UNROLL _Pragma("unroll")
#define COSDT_UNROLL_4 _Pragma("unroll 4")

namespace cosdt::agents::kernels {
namespace {

template <class... Parameters, class... Arguments>
void Launch(void (*kernel)(Parameters...), dim3 blocks, dim3 threads, size_t shared_bytes,
            CUstream_st* stream, const Arguments&... arguments) {
  kernel<<<blocks, threads, shared_bytes, stream>>>(arguments...);
}

// The block's shared memory of the size that the launch asked for.
__device__ float* SharedFloats() {
  extern __shared__ float4 shared[];
  return reinterpret_cast<float*>(shared);
}

}  // namespace
}  // namespace cosdt::agents::kernels
#endif

namespace cosdt::agents::kernels {
namespace {

namespace in = update_inputs;
using update_math::Dropper;

constexpr int kLanes = 32;
constexpr unsigned kAll = 0xffffffff;
constexpr int kGroup = 4;  // columns that a lane takes at a time

__device__ float ToFloat(float x) { return x; }
__device__ float ToFloat(__nv_bfloat16 x) { return __bfloat162float(x); }
template <class T>
__device__ T FromFloat(float x) {
  if constexpr (std::is_same_v<T, float>) {
    return x;
  } else {
    return __float2bfloat16_rn(x);
  }
}
// x rounded to T
template <class T>
__device__ float Rounded(float x) {
  return ToFloat(FromFloat<T>(x));
}

// Four values of a row from column c on; zeros behind its end. kVector: rows
// have whole groups, at aligned places.
template <bool kVector>
__device__ void Load(const float* row, int c, int width, float (&v)[kGroup]) {
  if constexpr (kVector) {
    float4 four = make_float4(0, 0, 0, 0);
    if (c < width) four = *reinterpret_cast<const float4*>(row + c);
    v[0] = four.x, v[1] = four.y, v[2] = four.z, v[3] = four.w;
  } else {
    for (int i = 0; i < kGroup; ++i) v[i] = c + i < width ? row[c + i] : 0;
  }
}
template <bool kVector>
__device__ void Load(const __nv_bfloat16* row, int c, int width, float (&v)[kGroup]) {
  if constexpr (kVector) {
    uint2 two = make_uint2(0, 0);
    if (c < width) two = *reinterpret_cast<const uint2*>(row + c);
    v[0] = __uint_as_float(two.x << 16), v[1] = __uint_as_float(two.x & 0xffff0000u);
    v[2] = __uint_as_float(two.y << 16), v[3] = __uint_as_float(two.y & 0xffff0000u);
  } else {
    for (int i = 0; i < kGroup; ++i) v[i] = c + i < width ? ToFloat(row[c + i]) : 0;
  }
}
template <bool kVector>
__device__ void Store(float* row, int c, int width, const float (&v)[kGroup]) {
  if constexpr (kVector) {
    if (c < width) *reinterpret_cast<float4*>(row + c) = make_float4(v[0], v[1], v[2], v[3]);
  } else {
    for (int i = 0; i < kGroup; ++i) {
      if (c + i < width) row[c + i] = v[i];
    }
  }
}
template <bool kVector>
__device__ void Store(__nv_bfloat16* row, int c, int width, const float (&v)[kGroup]) {
  if constexpr (kVector) {
    if (c >= width) return;
    const __nv_bfloat162 four[2] = {__floats2bfloat162_rn(v[0], v[1]),
                                    __floats2bfloat162_rn(v[2], v[3])};
    uint2 bits;
    memcpy(&bits, four, sizeof bits);
    *reinterpret_cast<uint2*>(row + c) = bits;
  } else {
    for (int i = 0; i < kGroup; ++i) {
      if (c + i < width) row[c + i] = FromFloat<__nv_bfloat16>(v[i]);
    }
  }
}

// The sum over a warp, in every lane.
__device__ float WarpSum(float x) {
  for (int step = kLanes / 2; step > 0; step /= 2) x += __shfl_xor_sync(kAll, x, step);
  return x;
}

__device__ int Lane() { return threadIdx.x % kLanes; }
__device__ int Warp() { return threadIdx.x / kLanes; }
__device__ int Warps() { return blockDim.x / kLanes; }

// The columns of a row that a lane has: kGroups groups of four.
template <int kGroups>
struct RowPart {
  float v[kGroups][kGroup];

  static __device__ int Column(int group) { return (group * kLanes + Lane()) * kGroup; }

  template <bool kVector, class T>
  __device__ void Read(const T* row, int width) {
    COSDT_UNROLL
    for (int g = 0; g < kGroups; ++g) Load<kVector>(row, Column(g), width, v[g]);
  }
  template <bool kVector, class T>
  __device__ void Write(T* row, int width) const {
    COSDT_UNROLL
    for (int g = 0; g < kGroups; ++g) Store<kVector>(row, Column(g), width, v[g]);
  }
  __device__ void Clear() {
    COSDT_UNROLL
    for (int g = 0; g < kGroups; ++g) {
      for (int i = 0; i < kGroup; ++i) v[g][i] = 0;
    }
  }
};

// body(value, column, group, place) for the lane's values inside the row.
template <int kGroups, class Body>
__device__ void ForValues(RowPart<kGroups>& part, int width, const Body& body) {
  COSDT_UNROLL
  for (int g = 0; g < kGroups; ++g) {
    const int c = RowPart<kGroups>::Column(g);
    COSDT_UNROLL
    for (int i = 0; i < kGroup; ++i) {
      if (c + i < width) body(part.v[g][i], c + i, g, i);
    }
  }
}

// LayerNorm of the row in `part`, whose values behind the end are 0.
template <int kGroups>
__device__ void Moments(RowPart<kGroups>& part, int width, float epsilon, float& mean,
                        float& inverse) {
  float sum = 0, squares = 0;
  ForValues(part, width, [&](float v, int, int, int) { sum += v; });
  mean = WarpSum(sum) / static_cast<float>(width);
  ForValues(part, width, [&](float v, int, int, int) { squares += (v - mean) * (v - mean); });
  inverse = 1 / sqrtf(WarpSum(squares) / static_cast<float>(width) + epsilon);
}

template <bool kVector, int kGroups, class T>
__device__ void WriteNormalized(RowPart<kGroups>& part, int width, float mean, float inverse,
                                const float* gamma, const float* beta, T* to) {
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

}  // namespace
}  // namespace cosdt::agents::kernels
