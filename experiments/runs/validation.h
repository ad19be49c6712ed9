// The loss on episodes that an agent is not trained on.
#pragma once

#include <torch/torch.h>

#include "agents/models/agent.h"
#include "agents/training/device_windows.h"
#include "experiments/runs/resolved_run.h"

namespace cosdt::experiments {

class Validation {
 public:
  // Of the run's held-out episodes, which are copied to the device.
  Validation(const ResolvedRun& run, const torch::Device& device);

  // The mean over all held-out steps of agents::ActionLoss: the squared error of actions, or the
  // cross entropy of discrete ones. Every step is predicted once, in windows that begin every K
  // steps; without dropout.
  double Loss(agents::Agent& agent) const;

 private:
  agents::DeviceWindows data_;
  std::vector<datasets::Window> windows_;
};

}  // namespace cosdt::experiments
