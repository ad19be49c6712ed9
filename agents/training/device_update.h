// Updates as a GPU does them best, and any device can: their inputs go up at once, every update is
// the same sequence of operations on arrays that never move, recorded and replayed on a
// GPU, and losses and norms come back at once. No update waits for the host, but for the sum of
// gradients over several processes, which stands between two recordings.
#pragma once

#include <torch/torch.h>

#include <memory>
#include <span>
#include <vector>

#include "agents/models/agent.h"
#include "agents/processes/batch_share.h"
#include "agents/training/adamw.h"
#include "agents/training/device_windows.h"
#include "agents/training/transformer_update.h"
#include "agents/training/update_recorder.h"

namespace cosdt::agents {

class DeviceUpdate {
 public:
  static constexpr int64_t kMaxAtOnce = 100;

  // Whether it can train the agent.
  static bool Takes(const Agent& agent);

  // The agent, the optimizer, which is the agent's, and the share of the batch's windows must
  // outlive this object and not move. `clip` as TrainerOptions has it; `type` of matrix products.
  DeviceUpdate(Agent& agent, AdamW& optimizer, DeviceWindows data, BatchShare& share, double clip,
               torch::ScalarType type);

  struct Input {
    std::span<const datasets::Window> windows;  // of the whole batch
    uint64_t dropout_key = 0;
    double learning_rate = 0;
  };
  struct Result {
    double loss = 0;
    double gradient_norm = 0;  // before clipping
  };
  // Does the updates, at most kMaxAtOnce. If a loss or norm is not finite, weights and
  // moments stay as they were before that update, which is the last of the results; the optimiser
  // counts those before it. If an error ends them (memory, a recording), it counts those that were
  // done.
  std::vector<Result> Run(std::span<const Input> updates);

 private:
  void Upload(std::span<const Input> updates);
  void ComputeGradients();
  void SumOverProcesses(int64_t i);
  void Step();
  void CountDone();
  void ComputeWithAutograd();

  Agent& agent_;
  AdamW& optimizer_;
  DeviceWindows data_;
  BatchShare& share_;
  double clip_;
  torch::Tensor staging_, inputs_;  // update_inputs.h, on the CPU and on the device
  torch::Tensor results_;           // [kMaxAtOnce, 2]: loss, norm
  torch::Tensor squares_;
  std::unique_ptr<TransformerUpdate> transformer_;  // of a Decision Transformer
  std::unique_ptr<UpdateRecorder> recorder_;
};

}  // namespace cosdt::agents
