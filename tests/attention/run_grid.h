// A launch of a CUDA kernel's template on the host: every block of a grid, one after the other.
#pragma once

#include <vector>

#include "attention/cuda_pass.cuh"
#include "tests/attention/warp_emulator.h"

namespace cosdt::attention::kernels::cuda::host {

// Shared memory holds NaNs before it is written. Blocks for which lost(block) is true do not run.
template <class Kernel, class Lost>
void RunGrid(const Kernel& kernel, const Grid& grid, Order order, const Lost& lost) {
  for (Grid block{0, 0, 0}; block.z < grid.z; ++block.z) {
    for (block.y = 0; block.y < grid.y; ++block.y) {
      for (block.x = 0; block.x < grid.x; ++block.x) {
        if (lost(block)) continue;
        std::vector<Vector> shared(kernel.kSharedBytes / sizeof(Vector), {{~0u, ~0u, ~0u, ~0u}});
        RunBlock(kernel.kThreads, order,
                 [&] { kernel(block, grid, reinterpret_cast<unsigned char*>(shared.data())); });
      }
    }
  }
}

}  // namespace cosdt::attention::kernels::cuda::host
