// Causal linear attention by the kernels of the inputs' device, as operators of LibTorch: CPU in
// every build, CUDA in builds with COSDT_CUDA (linear_op_cuda.cc), and meta tensors, which have
// shapes alone.
#pragma once

#include <torch/torch.h>

#include <optional>
#include <string>

#include "attention/linear_core.h"

namespace cosdt::attention {

// The differentiable operator
//   cosdt::causal_linear_attention(Tensor q, Tensor k, Tensor v, Tensor? key_mask, int features,
//                                  int reweight_length, bool normalize, float eps,
//                                  float half_life=0.) -> Tensor
// on [B, H, L, .]. Saves inputs, output and the normaliser for the backward pass, which is not
// differentiable itself (CausalLinearComposed is). The same bits for any number of threads, and in
// every run on a device. Throws c10::NotImplementedError if HasCausalLinearKernel is false.
torch::Tensor FusedCausalLinear(const Inputs& inputs, const LinearForm& form);

// Whether the kernels take q [B, H, L, d] and values that are `value_width` wide. CPU: all types of
// CheckType; CUDA: forms without decay, float32 with widths that are multiples of 4 and bfloat16
// with multiples of 8, up to 128, in a build that has the kernels if they passed their check on
// that device, which the first call for a device runs (self_check.h).
bool HasCausalLinearKernel(const torch::Tensor& q, int64_t value_width, const LinearForm& form);

// The path of causal linear attention on a device: "kernels", or "composition" of LibTorch's
// operations if the kernels are missing or failed their check.
std::string CausalLinearPath(const torch::Device& device);

// Forward without autograd, into arrays of any strides with contiguous rows.
//   inputs.q, .k [B, H, L, d], .v [B, H, L, d_v]; .key_mask [B, L] bool or undefined
//   out [B, H, L, d_v] in the inputs' type: written
//   normalizer [B, H, L], contiguous, float32 (float64 for float64): written; with form.normalize
void CausalLinearForward(const Inputs& inputs, const LinearForm& form, torch::Tensor& out,
                         torch::Tensor& normalizer);

// Its gradients, from what CausalLinearForward wrote; grad_q, grad_k [B, H, L, d] and grad_v
// [B, H, L, d_v] are written, in the inputs' type.
void CausalLinearBackward(const torch::Tensor& grad_out, const Inputs& inputs,
                          const LinearForm& form, const torch::Tensor& out,
                          const torch::Tensor& normalizer, torch::Tensor& grad_q,
                          torch::Tensor& grad_k, torch::Tensor& grad_v);

// For a device's binding: whether its kernels take such inputs and passed their check, or null.
using KernelCheck = bool (*)(const torch::Tensor& q, int64_t value_width, const LinearForm& form);
KernelCheck SetKernelCheck(c10::DeviceType type, KernelCheck check);  // returns the one before

}  // namespace cosdt::attention
