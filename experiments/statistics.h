#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace cosdt::experiments {

struct Interval {
  double low = 0;
  double high = 0;
};

double Mean(std::span<const double> values);

// numpy.std: the root of the mean squared deviation (divides by n), as published tables have it.
double Std(std::span<const double> values);

// The standard error of the mean: the sample deviation (divides by n - 1) over sqrt(n). 0 for one
// value.
double StandardError(std::span<const double> values);

// The mean of the middle half, scipy.stats.trim_mean(values, 0.25): floor(n / 4) values are cut off
// at either end (Agarwal et al. 2021, arXiv 2108.13264).
double InterquartileMean(std::span<const double> values);

// The percentile bootstrap's 95 % interval of a statistic, from 2,000 resamples drawn with `seed`.
Interval BootstrapInterval(std::span<const double> values,
                           double (*statistic)(std::span<const double>), uint64_t seed);

// The middle value; the mean of the two middle ones for an even number.
double Median(std::span<const double> values);

}  // namespace cosdt::experiments
