#include "attention/linear_op_cuda.h"

#include <c10/core/DeviceGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include "attention/cuda_kernels.h"

namespace cosdt::attention {

void RunOnDevice(const kernels::Problem& problem, kernels::Pass pass, const c10::Device& device) {
  TORCH_CHECK_NOT_IMPLEMENTED(
      kernels::CudaSupports(problem),
      "attention: the CUDA kernels take float32 and bfloat16, widths d = d_v of 16, 32, 64 or 128 "
      "and at most 2^30 tokens in all heads, found q ",
      problem.type == kernels::Type::kFloat64 ? "float64 [" : "[", problem.batch, ", ",
      problem.heads, ", ", problem.length, ", ", problem.width, "], d_v ", problem.value_width);
  const c10::DeviceGuard guard(device);
  const auto size = static_cast<int64_t>(kernels::CudaWorkspaceSize(problem, pass));
  // freed while the kernels run, which is safe: the allocator gives it to later work of the stream
  const torch::Tensor workspace =
      torch::empty({size}, torch::TensorOptions().dtype(torch::kUInt8).device(device));
  const c10::Stream stream = c10::impl::VirtualGuardImpl(device.type()).getStream(device);
  kernels::RunOnCuda(problem, pass, workspace.data_ptr(),
                     static_cast<CUstream_st*>(stream.native_handle()));
}

}  // namespace cosdt::attention
