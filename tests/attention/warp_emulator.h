// Runs a block of the CUDA kernels' templates on the host: each thread has a stack of its own and
// runs until it waits for its warp or its block, in an order that the test chooses.
#pragma once

#include <cstdint>
#include <functional>

namespace cosdt::attention::kernels::cuda::host {

enum class Order { kUp, kDown, kShuffled };

// Runs body() on `threads` threads, a multiple of 32. Throws std::logic_error where threads of one
// group wait for different things or for ever.
void RunBlock(int threads, Order order, const std::function<void()>& body);

}  // namespace cosdt::attention::kernels::cuda::host
