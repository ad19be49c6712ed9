#include "attention/cuda_kernels.h"

#include <cuda_runtime.h>

#include <stdexcept>
#include <string>

#include "attention/cuda_sums.cuh"

namespace cosdt::attention::kernels {
namespace {

// The threads of a block, as the kernels' functors know them.
struct Block {
  template <class T>
  struct PerThread {
    T own;
    COSDT_DEVICE T& operator[](int) { return own; }
  };

  template <class Part>
  COSDT_DEVICE void ForThreads(const Part& part) const {
    part(static_cast<int>(threadIdx.x));
    __syncthreads();
  }
};

template <class Kernel>
__global__ void __launch_bounds__(cuda::kThreads) Enter(const __grid_constant__ Kernel kernel) {
  extern __shared__ cuda::Vector4 shared[];
  kernel(Block{}, static_cast<int>(blockIdx.x), reinterpret_cast<float*>(shared));
}

void Check(cudaError_t error) {
  if (error == cudaSuccess) return;
  throw std::runtime_error(std::string("attention: launching a CUDA kernel failed: ") +
                           cudaGetErrorString(error));
}

}  // namespace

bool CudaSupports(const Problem& problem) {
  const int64_t width = problem.width;
  return problem.type != Type::kFloat64 && width == problem.value_width &&
         (width == 16 || width == 32 || width == 64 || width == 128) &&
         problem.batch * problem.heads <= (int64_t{1} << 30) / problem.length;
}

size_t CudaWorkspaceSize(const Problem& problem, Pass pass) {
  const cuda::Cut cut = cuda::MakeCut(problem, pass);
  return static_cast<size_t>(cuda::DeltasSize(problem, pass) +
                             cuda::StatesSize(problem, pass, cut)) *
         sizeof(float);
}

void RunOnCuda(const Problem& problem, Pass pass, void* workspace, CUstream_st* stream) {
  const auto launch = [&](const auto& kernel, int64_t blocks) {
    using Kernel = std::remove_cvref_t<decltype(kernel)>;
    // beyond 48 KB shared memory must be asked for
    Check(cudaFuncSetAttribute(Enter<Kernel>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               static_cast<int>(Kernel::kSharedBytes)));
    Enter<<<static_cast<unsigned>(blocks), cuda::kThreads, Kernel::kSharedBytes, stream>>>(kernel);
    Check(cudaGetLastError());
  };
  cuda::RunPass(problem, pass, cuda::MakeCut(problem, pass), static_cast<float*>(workspace),
                launch);
}

}  // namespace cosdt::attention::kernels
