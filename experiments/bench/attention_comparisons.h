#pragma once

#include <vector>

#include "experiments/bench/bench.h"

namespace cosdt::experiments {

// The fused attention kernels on the CPU against peak multiply-adds, against other ways to compute
// the same (token by token, cumulative sums, their own quadratic form) and against LibTorch's
// softmax: medians of `repeats` measurements.
std::vector<BenchRow> CompareAttentionKernels(int repeats);

}  // namespace cosdt::experiments
