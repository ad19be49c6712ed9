// How a device repeats sequences of operations: on a GPU each is recorded once, as a CUDA graph,
// and replayed.
#pragma once

#include <torch/torch.h>

#include <functional>
#include <memory>

namespace cosdt::agents {

class UpdateRecorder {
 public:
  virtual ~UpdateRecorder() = default;

  // Calls `work`, whose operations run after all earlier work of the device. It must end by reading
  // something back: later work of the device does not wait for it.
  virtual void InOrder(const std::function<void()>& work) = 0;

  // Within InOrder's work: runs `update`, of which there may be several, known by their number. It
  // must do the same operations on the same arrays every time and must not wait for the device. The
  // first calls on a GPU do it, one records it, the others replay the recording. An exception of
  // `update` while it is recorded ends the recording and is thrown again, with a line that says so.
  virtual void Run(int number, const std::function<void()>& update) = 0;
};

// For the device; elsewhere than on CUDA nothing is recorded. Throws std::runtime_error for CUDA in
// a build without it.
std::unique_ptr<UpdateRecorder> MakeUpdateRecorder(const torch::Device& device);

// Registers how a recorder for CUDA is made; called by the file that only CUDA builds compile.
using CudaRecorderFactory = std::unique_ptr<UpdateRecorder> (*)(const torch::Device& device);
bool SetCudaRecorderFactory(CudaRecorderFactory factory);

}  // namespace cosdt::agents
