// Sums on GPUs by NCCL. Compiled in CUDA builds alone, where its header is found.
#define USE_C10D_NCCL
#include <torch/torch.h>

#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>

#include <chrono>
#include <cstdlib>

#include "agents/processes/device_backend.h"

// the header lays out the options of ProcessGroupNCCL, which is compiled in LibTorch
static_assert(NCCL_MAJOR == 2 && NCCL_MINOR == 28, "expected the header of LibTorch's NCCL, 2.28");

namespace cosdt::agents {
namespace {

c10::intrusive_ptr<c10d::Backend> OpenNccl(const c10::intrusive_ptr<c10d::Store>& store, int rank,
                                           int size, const torch::Device& device) {
  // whoever is missing is found by its beats: LibTorch's threads end no process
  setenv("TORCH_NCCL_ASYNC_ERROR_HANDLING", "0", 0);
  setenv("TORCH_NCCL_ENABLE_MONITORING", "0", 0);
  const auto options = c10d::ProcessGroupNCCL::Options::create();
  options->timeout = std::chrono::hours(24);
  auto nccl = c10::make_intrusive<c10d::ProcessGroupNCCL>(store, rank, size, options);
  nccl->eagerConnectSingleDevice(device);
  return nccl;
}

[[maybe_unused]] const DeviceBackendFactory before = SetDeviceBackendFactory(OpenNccl);

}  // namespace
}  // namespace cosdt::agents
