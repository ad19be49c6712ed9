#pragma once

#include <vector>

#include "experiments/bench/bench.h"

namespace cosdt::experiments {

// The fused attention kernels against the peak of multiply-adds, against other ways to compute the
// same (a token at a time, cumulative sums, their own quadratic form) and against LibTorch's
// softmax, on the CPU: medians of `repeats` turns.
std::vector<BenchRow> CompareAttentionKernels(int repeats);

}  // namespace cosdt::experiments
