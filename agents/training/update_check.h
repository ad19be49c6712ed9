// Checks the update's kernels on a device before they are used there.
#pragma once

#include <torch/torch.h>

#include <string>
#include <vector>

namespace cosdt::agents {

// One operation of update_ops.h on fixed values.
struct UpdateOpsRun {
  std::string name;  // with type and size
  torch::ScalarType type;
  std::vector<torch::Tensor> results;
};

// Every operation on small arrays with sizes at the kernels' borders, in float32 and bfloat16.
// LibTorch's products of float32 must be exact ("highest") meanwhile.
std::vector<UpdateOpsRun> RunUpdateOps(const torch::Device& device);

// "" if they agree, else the first operation that does not, and by how much it is off.
std::string CompareUpdateOps(const std::vector<UpdateOpsRun>& found,
                             const std::vector<UpdateOpsRun>& expected);

// The device's against the CPU's.
std::string CheckUpdateOps(const torch::Device& device);

// Whether they agree: checked once per process and device, and said on stderr in one line.
bool UpdateOpsAgree(const torch::Device& device);

}  // namespace cosdt::agents
