// cosFormer (arXiv 2202.08791, equation 10): w_ij = cos(pi/2 (i - j) / M), phi = ReLU in the paper;
// on request phi = ELU + 1, and weights that also decay, with a factor per head as in RetNet (arXiv
// 2307.08621).
#pragma once

#include "attention/attention.h"

namespace cosdt::attention {

// The form of o_i = sum_j s_ij v_j / max(sum_j s_ij, 1e-6), s_ij = w_ij (phi(q_i) . phi(k_j)), over
// j <= i if options.causal, over all j otherwise; M is options.reweight_length, and all w_ij are 1
// if options.reweight is off; options.half_life multiplies them by 2^-((i - j) / half-life), with
// twice the half-life in each head after the first. phi is options.feature_map's. Attention and
// state are linear.h's.
LinearForm CosformerForm(const AttentionOptions& options);

}  // namespace cosdt::attention
