// The threads of a block if the CUDA kernels' templates are compiled for the host: cuda_warp.cuh
// calls these in place of a device's instructions. tests/attention/warp_emulator.h runs
// them.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

namespace cosdt::attention::kernels::cuda::host {

struct Thread {
  int index = 0;
};

// The thread that runs now.
Thread& Current();

// The words that the threads of a warp or block passed, in the order of the threads.
using Arrivals = std::vector<void*>;

// Waits until every thread of the block is here with a pointer of its own; then one of them calls
// `all` for the others, too. Warp is the same for the 32 threads of a warp. Throws
// std::logic_error if threads of one group wait for different things.
void Block(const std::function<void(const Arrivals&)>& all, void* mine);
void Warp(const std::function<void(const Arrivals&)>& all, void* mine);

void CosSin(float half_turns, float* cosine, float* sine);
bool Or(bool mine);
void SyncWarps(int number, int threads);
float ShuffleXor(float x, int lanes);
void CopyAsync(void* to, const void* from, bool real);
void WaitForCopies();
void LoadMatrices(uint32_t (&to)[4], const void* row, bool transposed);
void Mma(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, bool bfloat16);

}  // namespace cosdt::attention::kernels::cuda::host
