#pragma once

#include <torch/torch.h>

#include "agents/kernels/gemm.h"

namespace cosdt::agents {

// Copies weight [outputs, inputs] and bias [outputs], or zeros if it is undefined, into the form
// that kernels::Gemm takes for x weight^T + bias, without gradients: the weights as `type`,
// float32 or bfloat16, the bias as float32.
kernels::Packed Pack(const torch::Tensor& weight, const torch::Tensor& bias,
                     torch::ScalarType type = torch::kFloat32);

// Copies values of any type.
kernels::Floats CopyValues(const torch::Tensor& x);

// Appends zeros to the last dimension up to whole panels.
torch::Tensor PadLast(const torch::Tensor& x);

}  // namespace cosdt::agents
