#pragma once

#include <cstdint>

namespace cosdt::experiments {

// Causal cosFormer token by token, the baseline of attention/'s chunks: the state of both phases
// (2 width x value_width) is read, updated and written for every token, with SIMD vectors. One
// head; q and k are [length, width], v and out [length, value_width]; value_width is a multiple
// of 16.
void TokenRecurrence(const float* q, const float* k, const float* v, int64_t length, int64_t width,
                     int64_t value_width, int64_t reweight_length, float* out);

}  // namespace cosdt::experiments
