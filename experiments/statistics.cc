#include "experiments/statistics.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <vector>

namespace cosdt::experiments {
namespace {

double SquaredDeviations(std::span<const double> values) {
  const double mean = Mean(values);
  double sum = 0;
  for (const double x : values) sum += (x - mean) * (x - mean);
  return sum;
}

// The linear interpolation of numpy.percentile; `sorted` ascends, `share` is in [0, 1].
double Percentile(std::span<const double> sorted, double share) {
  const double position = share * static_cast<double>(sorted.size() - 1);
  const size_t below = static_cast<size_t>(position);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  return std::lerp(sorted[below], sorted[above], position - static_cast<double>(below));
}

}  // namespace

double Mean(std::span<const double> values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

double Std(std::span<const double> values) {
  return std::sqrt(SquaredDeviations(values) / static_cast<double>(values.size()));
}

double StandardError(std::span<const double> values) {
  if (values.size() < 2) return 0;
  const auto n = static_cast<double>(values.size());
  return std::sqrt(SquaredDeviations(values) / (n - 1) / n);
}

double InterquartileMean(std::span<const double> values) {
  std::vector<double> sorted(values.begin(), values.end());
  std::ranges::sort(sorted);
  const size_t cut = sorted.size() / 4;
  return Mean(std::span(sorted).subspan(cut, sorted.size() - 2 * cut));
}

Interval BootstrapInterval(std::span<const double> values,
                           double (*statistic)(std::span<const double>), uint64_t seed) {
  constexpr int kResamples = 2000;
  std::mt19937_64 rng(seed);
  std::uniform_int_distribution<size_t> pick(0, values.size() - 1);
  std::vector<double> resample(values.size()), estimates(kResamples);
  for (double& estimate : estimates) {
    for (double& x : resample) x = values[pick(rng)];
    estimate = statistic(resample);
  }
  std::ranges::sort(estimates);
  return {Percentile(estimates, 0.025), Percentile(estimates, 0.975)};
}

double Median(std::span<const double> values) {
  std::vector<double> sorted(values.begin(), values.end());
  std::ranges::sort(sorted);
  return Percentile(sorted, 0.5);
}

}  // namespace cosdt::experiments
