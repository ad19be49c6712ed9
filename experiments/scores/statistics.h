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

inline constexpr int kResamples = 2000;  // of a bootstrap

// The percentile bootstrap's 95 % interval of a statistic, from 2,000 resamples drawn with `seed`.
Interval BootstrapInterval(std::span<const double> values,
                           double (*statistic)(std::span<const double>), uint64_t seed);

// The middle value; the mean of the two middle ones for an even number.
double Median(std::span<const double> values);

// An algorithm's scores: for every task, one per run. Tasks need not have equally many runs; none
// is without. The functions below follow Agarwal et al. 2021 (arXiv 2108.13264) and have the values
// of their library rliable if all tasks have equally many.
using TaskScores = std::vector<std::vector<double>>;

// The mean over tasks of the mean over runs.
double AggregateMean(const TaskScores& scores);

// The median over tasks of the mean over runs.
double AggregateMedian(const TaskScores& scores);

// The interquartile mean of all runs of all tasks.
double AggregateInterquartileMean(const TaskScores& scores);

// The stratified percentile bootstrap's 95 % interval of an aggregate: runs are resampled within
// each task, tasks are kept.
Interval StratifiedInterval(const TaskScores& scores, double (*aggregate)(const TaskScores&),
                            uint64_t seed, int resamples = kResamples);

// How likely a run of x scores above a run of y on the same task, averaged over tasks; ties count
// half. Throws std::invalid_argument if x and y do not have equally many tasks.
double ProbabilityOfImprovement(const TaskScores& x, const TaskScores& y);

// Its stratified bootstrap interval: runs of x and of y are drawn independently.
Interval ProbabilityOfImprovementInterval(const TaskScores& x, const TaskScores& y, uint64_t seed,
                                          int resamples = kResamples);

// A point of a performance profile (a run-score distribution).
struct ProfilePoint {
  double threshold = 0;
  double share = 0;   // of all runs of all tasks that score above it
  Interval interval;  // pointwise, of a stratified bootstrap
};

// A point for each of the ascending thresholds.
std::vector<ProfilePoint> PerformanceProfile(const TaskScores& scores,
                                             std::span<const double> thresholds, uint64_t seed,
                                             int resamples = kResamples);

}  // namespace cosdt::experiments
