// No kernel decides a result that has not shown on the device at hand that it is right.
#pragma once

#include <torch/torch.h>

#include <string>

namespace cosdt::agents {

// Computes every operation of update_ops.h on the device and on the CPU, on small arrays with sizes
// at the kernels' borders, in float32 and bfloat16. LibTorch's products of float32 must be exact ("highest") meanwhile. Returns "" where they agree, else the operation
// and by how much it differs.
std::string CheckUpdateOps(const torch::Device& device);

// Whether they agree: checked once a process and device, and said on stderr in one line.
bool UpdateOpsAgree(const torch::Device& device);

}  // namespace cosdt::agents
