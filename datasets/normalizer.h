#pragma once

#include <span>
#include <vector>

#include "datasets/episodes.h"

namespace cosdt::datasets {

// Makes observations zero mean and unit deviation: (x - mean) / std.
struct Normalizer {
  std::vector<float> mean;  // [observation_size]
  std::vector<float> std;   // [observation_size], already with the 1e-6 that is added

  // from and to hold whole observations, one after the other, and may be the same.
  void Apply(std::span<const float> from, std::span<float> to) const;
};

// Over all rows of the episodes kept, as the original Decision Transformer has it: numpy's mean and
// std (divided by n), plus 1e-6. Sums are float64. A value that never varies has a std of 1, where
// theirs is 0: another value, met when acting, would become a million.
Normalizer MakeNormalizer(const Episodes& episodes);

}  // namespace cosdt::datasets
