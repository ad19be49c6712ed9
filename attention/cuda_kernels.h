// CUDA kernels of causal linear attention with cosine weights, on the same Problem as the CPU
// kernels (linear_kernels.h) with pointers to the device's memory: no LibTorch, no allocation, no
// waiting, so that launches can be recorded in a CUDA graph. Structure: attention/README.md.
#pragma once

#include <cstddef>

#include "attention/linear_kernels.h"

struct CUstream_st;  // *cudaStream_t

namespace cosdt::attention::kernels {

// Whether there are kernels for a problem: float32 with widths of keys and values that are
// multiples of 4, or bfloat16 with multiples of 8, up to 128; at most 2^30 rows batch x heads x
// length; strides below 2^29 elements. Arrays must be aligned to 16 bytes, as must all strides.
bool CudaSupports(const Problem& problem);

// Bytes of device memory that a pass needs besides its inputs and outputs, aligned to 16 bytes;
// 0: none. O(batch heads (width² + length)).
size_t CudaWorkspaceSize(const Problem& problem, Pass pass);

// Launches a pass on a stream of the current device, for a problem that CudaSupports. `workspace`
// may be used again as soon as the launched work is done. Throws std::runtime_error with CUDA's
// message if a launch fails.
void RunOnCuda(const Problem& problem, Pass pass, void* workspace, CUstream_st* stream);

}  // namespace cosdt::attention::kernels
