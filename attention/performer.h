// Performer: softmax attention estimated with positive orthogonal random features (FAVOR+,
// Choromanski et al., arXiv 2009.14794, lemma 1 and section 2.3).
#pragma once

#include "attention/attention.h"
#include "attention/shapes.h"

namespace cosdt::attention {

// Random directions [features, width] in float64, drawn from `seed` alone: blocks of `width` rows
// orthogonal to each other, each with the length of a normal vector. features = 0 takes
// width ln width, as the paper's code does (at least 1).
torch::Tensor PerformerProjection(int64_t features, int64_t width, uint64_t seed);

// Linear attention on phi(x) = exp(W x' - |x'|^2 / 2) / sqrt(m), x' = x d^(-1/4), with the
// projection W [m, d]. A query's features are scaled to a largest one of 1, which the division
// undoes; keys are not scaled, because a common scale would have to know the later keys.
torch::Tensor PerformerAttention(Inputs inputs, const ResolvedAttention& attention);

std::unique_ptr<AttentionState> MakePerformerState(const AttentionState::Shape& shape,
                                                   const ResolvedAttention& attention);

}  // namespace cosdt::attention
