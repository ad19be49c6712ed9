// The end of an update: parts of sums added up, the gradient's norm, AdamW.
#pragma once

#include "agents/training/update_rows.cuh"

namespace cosdt::agents::kernels {
namespace {

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
  if (threadIdx.y != 0 || c >= op.columns) return;
  for (int i = 1; i < kSumRows; ++i) sum += sums[i][threadIdx.x];
  if (c + 1 == op.columns) {
    op.results[2 * op.inputs.words[in::kDone]] = sum;
  } else {
    op.gradient[op.places[c]] = sum;
  }
}

constexpr int kThreads = 256;

// The sum over a block of kThreads threads, for thread 0.
template <class T>
__device__ T BlockSum(T x) {
  __shared__ T sums[kThreads / kLanes];
  for (int step = kLanes / 2; step > 0; step /= 2) x += __shfl_xor_sync(kAll, x, step);
  if (Lane() == 0) sums[Warp()] = x;
  __syncthreads();
  T total = 0;
  if (threadIdx.x == 0) {
    for (int i = 0; i < kThreads / kLanes; ++i) total += sums[i];
  }
  return total;
}

__global__ void SquaresKernel(Squares op) {
  float sum = 0;
  const int64_t groups = op.size / kGroup, step = int64_t{gridDim.x} * kThreads;
  COSDT_UNROLL_4
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < groups; i += step) {
    const float4 g = reinterpret_cast<const float4*>(op.gradient)[i];
    sum += g.x * g.x + g.y * g.y + g.z * g.z + g.w * g.w;
  }
  sum = BlockSum(sum);
  if (threadIdx.x == 0) op.squares[blockIdx.x] = sum;
}

// Steps, or leaves all as it is if the loss or the gradient is not finite,
// here or in an update before. The last block to be done makes the next
// update's inputs ready.
__global__ void AdamWKernel(AdamWStep op) {
  __shared__ update_math::AdamWScalars adamw;
  __shared__ bool change, last;
  int64_t* const words = op.inputs.words;
  double sum = 0;
  for (int64_t i = threadIdx.x; i < op.squares_count; i += kThreads) sum += op.squares[i];
  sum = BlockSum(sum);
  const int64_t update = words[in::kDone];
  float norm = 0;
  bool finite = false;
  if (threadIdx.x == 0) {
    norm = static_cast<float>(sqrt(sum));
    const int64_t* const scalars = words + op.inputs.width;
    finite = isfinite(norm) && isfinite(op.results[2 * update]);
    change = finite && words[in::kFirstBad] == 0;
    adamw = {static_cast<float>(__longlong_as_double(scalars[in::kDecay])),
             static_cast<float>(__longlong_as_double(scalars[in::kRootCorrection])),
             static_cast<float>(__longlong_as_double(scalars[in::kRate])),
             static_cast<float>(update_math::ClipScale(norm, op.clip))};
  }
  __syncthreads();
  if (change) {
    const int64_t groups = op.size / kGroup, step = int64_t{gridDim.x} * kThreads;
    for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < groups; i += step) {
      const int c = 0;
      float p[kGroup], g[kGroup], m[kGroup], v[kGroup];
      Load<true>(op.parameters + i * kGroup, c, kGroup, p);
      Load<true>(op.gradient + i * kGroup, c, kGroup, g);
      Load<true>(op.first + i * kGroup, c, kGroup, m);
      Load<true>(op.second + i * kGroup, c, kGroup, v);
      for (int j = 0; j < kGroup; ++j) p[j] = adamw(p[j], g[j], m[j], v[j]);
      Store<true>(op.parameters + i * kGroup, c, kGroup, p);
      Store<true>(op.first + i * kGroup, c, kGroup, m);
      Store<true>(op.second + i * kGroup, c, kGroup, v);
      if (op.bfloat16_copy)
        Store<true>(static_cast<__nv_bfloat16*>(op.bfloat16_copy) + i * kGroup, c, kGroup, p);
    }
  }
  if (threadIdx.x == 0) {
    __threadfence();
    const unsigned ticket =
        atomicInc(reinterpret_cast<unsigned*>(words + in::kTicket), gridDim.x - 1);
    last = ticket == gridDim.x - 1;
  }
  __syncthreads();
  if (!last) return;
  // every other block has read what changes now
  if (threadIdx.x == 0) {
    op.results[2 * update + 1] = norm;
    if (!finite && words[in::kFirstBad] == 0) words[in::kFirstBad] = update + 1;
    words[in::kDone] = update + 1;
  }
  if (update + 2 < op.inputs.rows) {
    for (int64_t i = threadIdx.x; i < op.inputs.width; i += kThreads) {
      words[op.inputs.width + i] = words[(update + 2) * op.inputs.width + i];
    }
  }
}

}  // namespace
}  // namespace cosdt::agents::kernels
