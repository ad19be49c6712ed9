// Runs a block of the CUDA kernels' templates on the host: each thread has a stack of its own and
// runs until it waits for its warp or its block, in an order that the test chooses.
#pragma once

#include <cstdint>
#include <functional>

namespace cosdt::attention::kernels::cuda::host {

enum class Order { kUp, kDown, kShuffled };

// Faults that a test plants: instructions that do something else.
struct Faults {
  bool wrong_sine = false;       // it is the cosine
  bool skip_copies = false;      // asynchronous copies never arrive
  bool short_copies = false;     // every 64th of them brings zeros
  bool skip_shuffles = false;    // a lane gets its own value
  bool narrow_products = false;  // the last column of a product of tiles is not computed
  bool skip_transpose = false;   // ldmatrix does not transpose
};

// In force as long as it lives.
class PlantedFaults {
 public:
  explicit PlantedFaults(const Faults& faults);
  ~PlantedFaults();
  PlantedFaults(const PlantedFaults&) = delete;
};

// Runs body() on `threads` threads, a multiple of 32. Throws std::logic_error if threads of one
// group wait for different things or forever.
void RunBlock(int threads, Order order, const std::function<void()>& body);

}  // namespace cosdt::attention::kernels::cuda::host
