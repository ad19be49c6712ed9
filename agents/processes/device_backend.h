// How processes sum tensors on GPUs: by NCCL, in builds with CUDA.
#pragma once

#include <torch/torch.h>

#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/Store.hpp>

namespace cosdt::agents {

// Sums of tensors on the device over `size` processes, which meet in the store.
using DeviceBackendFactory = c10::intrusive_ptr<c10d::Backend> (*)(
    const c10::intrusive_ptr<c10d::Store>& store, int rank, int size, const torch::Device& device);

// Throws std::runtime_error in a build without it, and what NCCL throws.
c10::intrusive_ptr<c10d::Backend> OpenDeviceBackend(const c10::intrusive_ptr<c10d::Store>& store,
                                                    int rank, int size,
                                                    const torch::Device& device);

// Registers how it is made; called by the file that only CUDA builds compile, and by tests. The one
// before.
DeviceBackendFactory SetDeviceBackendFactory(DeviceBackendFactory factory);

}  // namespace cosdt::agents
