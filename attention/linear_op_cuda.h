// Binds the CUDA kernels to LibTorch: device, stream and workspace. Needs none of LibTorch's CUDA
// headers or libraries.
#pragma once

#include <torch/torch.h>

#include "attention/linear_kernels.h"

namespace cosdt::attention {

// Launches a pass over arrays on a device, on its current stream, with workspace from LibTorch's
// allocator. Throws c10::NotImplementedError for types and widths without kernels.
void RunOnDevice(const kernels::Problem& problem, kernels::Pass pass, const c10::Device& device);

}  // namespace cosdt::attention
