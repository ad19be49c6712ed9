// Marks small functions that CUDA kernels share with the CPU.
#pragma once

#if defined(__CUDACC__)
#define COSDT_BOTH __host__ __device__ __forceinline__
#else
#define COSDT_BOTH inline
#endif
