// A dataset on the model's device, and windows of it gathered there: an update sends
// three integers per window instead of its steps.
#pragma once

#include <torch/torch.h>

#include <span>

#include "agents/models/agent.h"
#include "datasets/episodes.h"
#include "datasets/normalizer.h"
#include "datasets/window_sampler.h"

namespace cosdt::agents {

class DeviceWindows {
 public:
  // Copies observations (normalized), actions and returns-to-go (scaled) of all episodes to the
  // device: 4 bytes per value. From the options it takes context, return_scale and timestep_limit.
  DeviceWindows(const datasets::Episodes& episodes, const datasets::Normalizer& normalizer,
                const datasets::WindowOptions& options, const torch::Device& device);

  // Gather's description of windows, written to int64 [B, 3] on the CPU: each the first row of the
  // data, the first timestep and the length.
  void Describe(std::span<const datasets::Window> windows, int64_t* described) const;
  torch::Tensor Describe(std::span<const datasets::Window> windows) const;

  // The batch that WindowSampler::Fill writes, bit for bit, with previous actions if they are read.
  // `described` is on the device. It waits for nothing and reads all its inputs on the device: it
  // can be recorded in a CUDA graph.
  Batch Gather(const torch::Tensor& described, bool previous_actions) const;

  // [rows, ..]: observations normalized, returns-to-go scaled.
  const torch::Tensor& observations() const { return observations_; }
  const torch::Tensor& actions() const { return actions_; }
  const torch::Tensor& returns_to_go() const { return returns_to_go_; }

 private:
  std::vector<size_t> offsets_;
  int64_t timestep_limit_;
  double no_action_;
  torch::Tensor observations_, actions_, returns_to_go_;  // [rows, ..]
  torch::Tensor steps_;                                   // [K]: 0, 1, .. K - 1
};

}  // namespace cosdt::agents
