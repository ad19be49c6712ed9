#pragma once

#include "attention/linear_core.h"

namespace cosdt::attention {

// Causal linear attention by the CPU or CUDA kernels, as the differentiable operator
//   cosdt::causal_linear_attention(Tensor q, Tensor k, Tensor v, Tensor? key_mask, int features,
//                                  int reweight_length, bool normalize, float eps) -> Tensor
// on [B, H, L, .]. Saves inputs, output and the normaliser for the backward pass, which is not
// differentiable itself (CausalLinearComposed is). The same bits for any number of threads, and in
// every run on a device. CUDA needs a build with COSDT_CUDA; its types and widths are those of
// AttentionOptions::fused_cuda.
torch::Tensor FusedCausalLinear(const Inputs& inputs, const LinearForm& form);

}  // namespace cosdt::attention
