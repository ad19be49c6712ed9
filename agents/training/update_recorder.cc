#include "agents/training/update_recorder.h"

#include <stdexcept>

namespace cosdt::agents {
namespace {

class NoRecorder : public UpdateRecorder {
 public:
  void InOrder(const std::function<void()>& work) override { work(); }
  void Run(int, const std::function<void()>& update) override { update(); }
};

CudaRecorderFactory& Factory() {
  static CudaRecorderFactory factory = nullptr;
  return factory;
}

}  // namespace

bool SetCudaRecorderFactory(CudaRecorderFactory factory) {
  Factory() = factory;
  return true;
}

std::unique_ptr<UpdateRecorder> MakeUpdateRecorder(const torch::Device& device) {
  if (!device.is_cuda()) return std::make_unique<NoRecorder>();
  if (!Factory()) {
    throw std::runtime_error("training: device: expected a build with CUDA for " + device.str() +
                             ", found one without");
  }
  return Factory()(device);
}

}  // namespace cosdt::agents
