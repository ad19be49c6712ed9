#pragma once

#include <torch/torch.h>

#include <memory>

#include "agents/mlp/mlp_stack.h"

namespace cosdt::agents {

// A network's parameters as a module, by which they are named in files: "layers.0.weight" [outputs,
// inputs], "layers.0.bias", "norms.0.weight" and so on; views of a member of the stack.
std::shared_ptr<torch::nn::Module> ViewsOf(const MlpStack& stack, int64_t member);

}  // namespace cosdt::agents
