// Whether kernels of causal linear attention compute on a device what LibTorch's operations compute
// there, for devices on which no kernel has run before.
#pragma once

#include <torch/torch.h>

#include <functional>
#include <string>

#include "attention/linear_kernels.h"

namespace cosdt::attention {

// Whether there are kernels for a problem; runs a pass of them over arrays on the device.
using SupportsProblem = std::function<bool(const kernels::Problem&)>;
using RunKernels = std::function<void(const kernels::Problem&, kernels::Pass)>;

// Runs every kernel that the device can have forward and backward, in float32, tf32 and bfloat16,
// on lengths at the borders of chunks and segments, with and without padding, and compares outputs,
// normalisers and gradients with CausalLinearComposed in float64 on the same device. Returns which
// result differs first by more than the type's rounding, and by how much; empty if all agree.
// Waits for the device: not for use while a CUDA graph is recorded.
std::string CheckKernels(const torch::Device& device, const SupportsProblem& supports,
                         const RunKernels& run);

}  // namespace cosdt::attention
