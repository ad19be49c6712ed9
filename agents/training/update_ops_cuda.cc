// The operations of update_ops.h on a device: their kernels (update_kernels.h) on its current
// stream. Compiled in CUDA builds alone.
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include "agents/training/update_ops_binding.h"

namespace cosdt::agents::update_ops {
namespace {

using torch::Tensor;

struct Cuda {
  template <class Op>
  static void Launch(const Op& op, const Tensor& on) {
    const c10::cuda::CUDAGuard guard(on.device());
    kernels::Run(op, c10::cuda::getCurrentCUDAStream());
    C10_CUDA_KERNEL_LAUNCH_CHECK();
  }
};

void WeightGradientCuda(const Tensor& grad, const Tensor& x, bool accumulate, const Tensor& to) {
  Tensor out = to;
  if (x.scalar_type() != torch::kBFloat16) {
    out.addmm_(grad.t(), x, accumulate ? 1 : 0);
  } else if (accumulate) {
    out.add_(at::mm(grad.t(), x, torch::kFloat32));
  } else {
    at::mm_out(out, grad.t(), x, torch::kFloat32);
  }
}

TORCH_LIBRARY_IMPL(cosdt, CUDA, library) {
  Binding<Cuda>::Register(library);
  library.impl("weight_gradient", WeightGradientCuda);
}

}  // namespace
}  // namespace cosdt::agents::update_ops
