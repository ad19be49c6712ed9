#include "agents/processes/device_backend.h"

#include <stdexcept>
#include <utility>

namespace cosdt::agents {
namespace {

DeviceBackendFactory& TheFactory() {
  static DeviceBackendFactory factory = nullptr;
  return factory;
}

}  // namespace

c10::intrusive_ptr<c10d::Backend> OpenDeviceBackend(const c10::intrusive_ptr<c10d::Store>& store,
                                                    int rank, int size,
                                                    const torch::Device& device) {
  if (TheFactory()) return TheFactory()(store, rank, size, device);
  throw std::runtime_error(
      "processes: expected a build with NCCL for several on GPUs, found one "
      "without (several train on CPUs)");
}

DeviceBackendFactory SetDeviceBackendFactory(DeviceBackendFactory factory) {
  return std::exchange(TheFactory(), factory);
}

}  // namespace cosdt::agents
