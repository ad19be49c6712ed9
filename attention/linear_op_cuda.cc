// Binds the CUDA kernels to LibTorch: device, stream and workspace; the check before they are used.
#include <ATen/Context.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <c10/util/Exception.h>
#include <torch/library.h>

#include <cstdio>
#include <map>
#include <mutex>

#include "attention/cuda_kernels.h"
#include "attention/linear_op.h"
#include "attention/linear_problem.h"
#include "attention/self_check.h"

namespace cosdt::attention {
namespace {

using torch::Tensor;

// Launches a pass over arrays on a device, on its current stream.
void Run(const kernels::Problem& problem, kernels::Pass pass, const c10::Device& device) {
  const c10::DeviceGuard guard(device);
  TORCH_CHECK_NOT_IMPLEMENTED(
      kernels::CudaSupports(problem),
      "attention: the CUDA kernels take float32 and bfloat16, widths up to 128 that are multiples "
      "of 4 and 8 and fit the device's shared memory, and at most 2^30 tokens in all heads, found "
      "q ",
      problem.type == kernels::Type::kFloat64 ? "float64 [" : "[", problem.batch, ", ",
      problem.heads, ", ", problem.length, ", ", problem.width, "], d_v ", problem.value_width);
  TORCH_CHECK_NOT_IMPLEMENTED(problem.half_life == 0,
                              "attention: the CUDA kernels take weights without decay, found "
                              "half_life ",
                              problem.half_life);
  const auto size = static_cast<int64_t>(kernels::CudaWorkspaceSize(problem, pass));
  // freed while the kernels run, which is safe: the allocator gives it to later work of the stream
  const Tensor workspace =
      torch::empty({size}, torch::TensorOptions().dtype(torch::kUInt8).device(device));
  const c10::Stream stream = c10::impl::VirtualGuardImpl(device.type()).getStream(device);
  kernels::RunOnCuda(problem, pass, workspace.data_ptr(),
                     static_cast<CUstream_st*>(stream.native_handle()));
}

// The kernels copy 16 bytes at a time.
bool IsAligned(const Tensor& x) {
  const auto vector = static_cast<int64_t>(16 / x.element_size());
  return reinterpret_cast<uintptr_t>(x.data_ptr()) % 16 == 0 && x.stride(0) % vector == 0 &&
         x.stride(1) % vector == 0 && x.stride(2) % vector == 0;
}
Tensor Aligned(const Tensor& x) { return IsAligned(x) ? x : x.clone(at::MemoryFormat::Contiguous); }

// An output that the kernels can write: unaligned arrays are copied to at the end.
class AlignedOutput {
 public:
  explicit AlignedOutput(Tensor& to)
      : to_(to), aligned_(IsAligned(to) ? to : torch::empty(to.sizes(), to.options())) {}
  const Tensor& tensor() const { return aligned_; }
  void Finish() {
    if (!aligned_.is_same(to_)) to_.copy_(aligned_);
  }

 private:
  Tensor& to_;
  Tensor aligned_;
};

Inputs AlignedInputs(const Inputs& inputs) {
  return {Aligned(inputs.q), Aligned(inputs.k), Aligned(inputs.v), inputs.key_mask, {}};
}

void ForwardOnCuda(const Inputs& inputs, const LinearForm& form, Tensor& out, Tensor& normalizer) {
  const Inputs aligned = AlignedInputs(inputs);
  AlignedOutput to(out);
  kernels::Problem problem = MakeProblem(aligned, form, to.tensor(), normalizer);
  problem.one_product = at::globalContext().allowTF32CuBLAS();
  Run(problem, kernels::Pass::kForward, inputs.q.device());
  to.Finish();
}

void BackwardOnCuda(const Tensor& grad_out, const Inputs& inputs, const LinearForm& form,
                    const Tensor& out, const Tensor& normalizer, Tensor& grad_q, Tensor& grad_k,
                    Tensor& grad_v) {
  const Inputs aligned = AlignedInputs(inputs);
  const Tensor grad = Aligned(grad_out), output = Aligned(out);
  AlignedOutput to_q(grad_q), to_k(grad_k), to_v(grad_v);
  kernels::Problem problem = MakeProblem(aligned, form, output, normalizer);
  AddGradients(problem, grad, to_q.tensor(), to_k.tensor(), to_v.tensor());
  problem.one_product = at::globalContext().allowTF32CuBLAS();
  Run(problem, kernels::Pass::kBackward, inputs.q.device());
  for (AlignedOutput* to : {&to_q, &to_k, &to_v}) to->Finish();
}

// Once per device and process.
bool PassedCheck(const c10::Device& device) {
  static std::mutex mutex;
  static std::map<c10::DeviceIndex, bool> passed;
  const std::lock_guard lock(mutex);
  if (const auto known = passed.find(device.index()); known != passed.end()) return known->second;
  const std::string fault = CheckKernels(
      device, kernels::CudaSupports,
      [&](const kernels::Problem& problem, kernels::Pass pass) { Run(problem, pass, device); });
  if (fault.empty()) {
    std::fprintf(stderr, "cosdt: attention kernels on %s: checked\n", device.str().c_str());
  } else {
    std::fprintf(stderr,
                 "cosdt: attention kernels on %s: %s; LibTorch's operations are used instead\n",
                 device.str().c_str(), fault.c_str());
  }
  return passed[device.index()] = fault.empty();
}

bool Takes(const Tensor& q, int64_t value_width, const LinearForm& form) {
  if (form.half_life > 0) {
    TORCH_WARN_ONCE("attention on ", q.device(),
                    ": LibTorch's operations compute weights that decay; the kernels take those of "
                    "half-life 0");
    return false;
  }
  kernels::Problem problem;
  if (q.scalar_type() != torch::kFloat32 && q.scalar_type() != torch::kBFloat16) return false;
  if (q.scalar_type() == torch::kBFloat16) problem.type = kernels::Type::kBFloat16;
  problem.batch = q.size(0);
  problem.heads = q.size(1);
  problem.length = q.size(2);
  problem.width = q.size(3);
  problem.value_width = value_width;
  const c10::DeviceGuard guard(q.device());
  if (kernels::CudaSupports(problem)) return PassedCheck(q.device());
  TORCH_WARN_ONCE(
      "attention on ", q.device(), ": LibTorch's operations compute heads of widths ", q.size(3),
      " and ", value_width, " in ", q.scalar_type(), " and length ", q.size(2),
      "; the kernels take multiples of 4 in float32 and of 8 in bfloat16, up to 128, as "
      "far as the device's shared memory goes");
  return false;
}

TORCH_LIBRARY_IMPL(cosdt, CUDA, library) {
  library.impl("causal_linear_forward", ForwardOperator<ForwardOnCuda>);
  library.impl("causal_linear_backward", BackwardOperator<BackwardOnCuda>);
}

[[maybe_unused]] const KernelCheck kBefore = SetKernelCheck(c10::DeviceType::CUDA, Takes);

}  // namespace
}  // namespace cosdt::attention
