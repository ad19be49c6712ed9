#include "attention/cuda_kernels.h"

#include <cuda_runtime.h>

#include <stdexcept>
#include <string>

#include "attention/cuda_pass.cuh"

namespace cosdt::attention::kernels {
namespace {

template <class Kernel>
__global__ void __launch_bounds__(Kernel::kThreads, Kernel::kBlocksAMultiprocessor)
    Enter(const __grid_constant__ Kernel kernel) {
  extern __shared__ __align__(16) unsigned char shared[];
  kernel(cuda::Grid{blockIdx.x, blockIdx.y, blockIdx.z},
         cuda::Grid{gridDim.x, gridDim.y, gridDim.z}, shared);
}

void Check(cudaError_t error) {
  if (error == cudaSuccess) return;
  throw std::runtime_error(std::string("attention: launching a CUDA kernel failed: ") +
                           cudaGetErrorString(error));
}

// The shared memory that a block may have on the current device; 0 if there is none.
int SharedBytesOfDevice() {
  int device = 0, bytes = 0;
  if (cudaGetDevice(&device) != cudaSuccess ||
      cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device) !=
          cudaSuccess) {
    cudaGetLastError();  // cleared: the caller has handled it
    return 0;
  }
  return bytes;
}

}  // namespace

bool CudaSupports(const Problem& problem) {
  const int64_t vector = problem.type == Type::kBFloat16 ? 8 : 4;
  const auto width = [&](int64_t x) { return x >= vector && x <= 128 && x % vector == 0; };
  for (const Array* array : {&problem.q, &problem.k, &problem.v, &problem.out, &problem.grad_out,
                             &problem.grad_q, &problem.grad_k, &problem.grad_v}) {
    if (!cuda::HasShortStrides(*array)) return false;
  }
  return problem.type != Type::kFloat64 && width(problem.width) && width(problem.value_width) &&
         problem.batch * problem.heads <= (int64_t{1} << 30) / problem.length &&
         cuda::SharedBytes(problem) <= SharedBytesOfDevice();
}

size_t CudaWorkspaceSize(const Problem& problem, Pass pass) {
  return static_cast<size_t>(cuda::WorkspaceSize(problem, pass, cuda::MakeCut(problem, pass))) *
         sizeof(float);
}

void RunOnCuda(const Problem& problem, Pass pass, void* workspace, CUstream_st* stream) {
  const auto launch = [&](const auto& kernel, const cuda::Grid& grid) {
    using Kernel = std::remove_cvref_t<decltype(kernel)>;
    if constexpr (Kernel::kSharedBytes > 48 * 1024) {  // more must be requested
      Check(cudaFuncSetAttribute(Enter<Kernel>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                 Kernel::kSharedBytes));
    }
    const dim3 blocks(static_cast<unsigned>(grid.x), static_cast<unsigned>(grid.y),
                      static_cast<unsigned>(grid.z));
    Enter<<<blocks, Kernel::kThreads, Kernel::kSharedBytes, stream>>>(kernel);
    Check(cudaGetLastError());
  };
  cuda::RunPass(problem, pass, cuda::MakeCut(problem, pass), static_cast<float*>(workspace),
                launch);
}

}  // namespace cosdt::attention::kernels
