// One update of a Decision Transformer or of behaviour cloning all of whose inputs lie at fixed
// places on the device, so that on a GPU it is recorded once, as a CUDA graph, and replayed: the
// learning rate and dropout's keys are tensors, or they would be frozen into the recording.
//
// Not yet run on a device: the tests run the same operations on the CPU, without the recording.
#pragma once

#include <torch/torch.h>

#include <memory>
#include <span>

#include "agents/adamw.h"
#include "agents/agent.h"
#include "agents/device_windows.h"

namespace cosdt::agents {

class RecordedUpdate {
 public:
  // The agent and the optimizer, which is the agent's, must outlive this object and stay where they
  // are. `clip` as TrainerOptions has it.
  RecordedUpdate(Agent& agent, AdamW& optimizer, DeviceWindows data, int64_t batch_size,
                 double clip);
  ~RecordedUpdate();

  struct Result {
    double loss = 0;
    double gradient_norm = 0;  // before clipping
  };
  // Computes the update's loss and gradients and, where both are finite, changes the weights. The
  // first three on a GPU are not recordings, which need the memory that these leave behind.
  Result Run(std::span<const datasets::Window> windows, uint64_t dropout_key, double learning_rate);

 private:
  void Compute();

  Agent& agent_;
  AdamW& optimizer_;
  DeviceWindows data_;
  double clip_;
  torch::Tensor windows_, dropout_keys_, scalars_;  // inputs
  torch::Tensor results_;                           // loss, norm: float32 [2]
  struct Recording;
  std::unique_ptr<Recording> recording_;  // null on the CPU
};

}  // namespace cosdt::agents
