#pragma once

#include <torch/torch.h>

#include <string>
#include <utility>
#include <vector>

namespace cosdt::agents {

// Tensors by name, for saving and loading: views, not copies.
using NamedTensors = std::vector<std::pair<std::string, torch::Tensor>>;

// A flat tensor with Adam's moments and step count for it, float32 on the CPU.
struct Learned {
  torch::Tensor parameters, first_moment, second_moment;  // [n]
  torch::Tensor steps;                                    // [1]

  // Before the first step.
  explicit Learned(const torch::Tensor& parameters);

  // One step of Adam, in parts that LibTorch's threads share; then `followers`, if defined, take
  // over the share tau.
  void Step(const torch::Tensor& gradients, double lr, const torch::Tensor& followers = {},
            double tau = 0);

  // Adds "NAME/first_moment" and so on; "NAME/parameters" if `with_parameters`.
  void AddTo(NamedTensors& state, const std::string& name, bool with_parameters) const;
};

}  // namespace cosdt::agents
