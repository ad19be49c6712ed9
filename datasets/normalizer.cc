#include "datasets/normalizer.h"

#include <algorithm>
#include <cmath>

namespace cosdt::datasets {

void Normalizer::Apply(std::span<const float> from, std::span<float> to) const {
  const size_t width = mean.size();
  // observations are short: a block of them keeps the vector unit busy
  constexpr size_t kRows = 8;
  std::vector<float> means(kRows * width), stds(kRows * width);
  for (size_t i = 0; i < means.size(); ++i) {
    means[i] = mean[i % width];
    stds[i] = std[i % width];
  }
  for (size_t begin = 0; begin < from.size(); begin += means.size()) {
    const size_t count = std::min(means.size(), from.size() - begin);
    for (size_t i = 0; i < count; ++i) to[begin + i] = (from[begin + i] - means[i]) / stds[i];
  }
}

Normalizer MakeNormalizer(const Episodes& episodes) {
  const size_t width = episodes.observation_size;
  const auto rows = static_cast<double>(episodes.rows());
  std::vector<double> sums(width), squares(width);
  for (size_t i = 0; i < episodes.observations.size(); i += width) {
    for (size_t j = 0; j < width; ++j) sums[j] += episodes.observations[i + j];
  }
  for (double& sum : sums) sum /= rows;
  // a second pass: the difference of two large sums would lose the digits of a small deviation
  for (size_t i = 0; i < episodes.observations.size(); i += width) {
    for (size_t j = 0; j < width; ++j) {
      const double x = episodes.observations[i + j] - sums[j];
      squares[j] += x * x;
    }
  }
  Normalizer normalizer;
  for (size_t j = 0; j < width; ++j) {
    normalizer.mean.push_back(static_cast<float>(sums[j]));
    const double deviation = std::sqrt(squares[j] / rows);
    const bool varies = deviation > 1e-9;  // more than the mean's rounding
    normalizer.std.push_back(static_cast<float>((varies ? deviation : 1) + 1e-6));
  }
  return normalizer;
}

}  // namespace cosdt::datasets
