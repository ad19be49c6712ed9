// Naive references: every kind with its whole matrix of weights, in float64, from the papers'
// equations. LibTorch differentiates them.
#pragma once

#include "attention/attention.h"

namespace cosdt::attention {

// q [B, H, L, d], k and v likewise, key_mask [B, L_k] or undefined; `projection` is performer's.
torch::Tensor Reference(const torch::Tensor& q, const torch::Tensor& k, const torch::Tensor& v,
                        const torch::Tensor& key_mask, const AttentionOptions& options,
                        const torch::Tensor& projection);

// |found - expected| at its largest, against the largest |expected| (or 1 if all are smaller).
double LargestError(const torch::Tensor& found, const torch::Tensor& expected);

bool SameBits(const torch::Tensor& a, const torch::Tensor& b);

}  // namespace cosdt::attention
