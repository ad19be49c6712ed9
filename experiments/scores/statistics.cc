#include "experiments/scores/statistics.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <stdexcept>
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

Interval PercentileInterval(std::vector<double>& estimates) {
  std::ranges::sort(estimates);
  return {Percentile(estimates, 0.025), Percentile(estimates, 0.975)};
}

void Resample(std::span<const double> values, std::mt19937_64& rng, std::vector<double>& resample) {
  std::uniform_int_distribution<size_t> pick(0, values.size() - 1);
  for (double& x : resample) x = values[pick(rng)];
}

// Within each task; `resample` has the shape of `scores`.
void Resample(const TaskScores& scores, std::mt19937_64& rng, TaskScores& resample) {
  for (size_t task = 0; task < scores.size(); ++task) Resample(scores[task], rng, resample[task]);
}

std::vector<double> TaskMeans(const TaskScores& scores) {
  std::vector<double> means;
  for (const std::vector<double>& runs : scores) means.push_back(Mean(runs));
  return means;
}

// All runs of all tasks, ascending.
std::vector<double> SortedRuns(const TaskScores& scores) {
  std::vector<double> all;
  for (const std::vector<double>& runs : scores) all.insert(all.end(), runs.begin(), runs.end());
  std::ranges::sort(all);
  return all;
}

double ShareAbove(std::span<const double> sorted, double threshold) {
  const auto above =
      std::ranges::distance(std::ranges::upper_bound(sorted, threshold), sorted.end());
  return static_cast<double>(above) / static_cast<double>(sorted.size());
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
  std::mt19937_64 rng(seed);
  std::vector<double> resample(values.size()), estimates(kResamples);
  for (double& estimate : estimates) {
    Resample(values, rng, resample);
    estimate = statistic(resample);
  }
  return PercentileInterval(estimates);
}

double Median(std::span<const double> values) {
  std::vector<double> sorted(values.begin(), values.end());
  std::ranges::sort(sorted);
  return Percentile(sorted, 0.5);
}

double AggregateMean(const TaskScores& scores) { return Mean(TaskMeans(scores)); }

double AggregateMedian(const TaskScores& scores) { return Median(TaskMeans(scores)); }

double AggregateInterquartileMean(const TaskScores& scores) {
  return InterquartileMean(SortedRuns(scores));
}

Interval StratifiedInterval(const TaskScores& scores, double (*aggregate)(const TaskScores&),
                            uint64_t seed, int resamples) {
  std::mt19937_64 rng(seed);
  TaskScores resample = scores;
  std::vector<double> estimates(resamples);
  for (double& estimate : estimates) {
    Resample(scores, rng, resample);
    estimate = aggregate(resample);
  }
  return PercentileInterval(estimates);
}

double ProbabilityOfImprovement(const TaskScores& x, const TaskScores& y) {
  if (x.size() != y.size()) {
    throw std::invalid_argument("ProbabilityOfImprovement: expected the same tasks, found " +
                                std::to_string(x.size()) + " and " + std::to_string(y.size()));
  }
  double sum = 0;
  for (size_t task = 0; task < x.size(); ++task) {
    double wins = 0;
    for (const double a : x[task]) {
      for (const double b : y[task]) wins += a > b ? 1 : a == b ? 0.5 : 0;
    }
    sum += wins / static_cast<double>(x[task].size() * y[task].size());
  }
  return sum / static_cast<double>(x.size());
}

Interval ProbabilityOfImprovementInterval(const TaskScores& x, const TaskScores& y, uint64_t seed,
                                          int resamples) {
  std::mt19937_64 rng(seed);
  TaskScores x_resample = x, y_resample = y;
  std::vector<double> estimates(resamples);
  for (double& estimate : estimates) {
    Resample(x, rng, x_resample);
    Resample(y, rng, y_resample);
    estimate = ProbabilityOfImprovement(x_resample, y_resample);
  }
  return PercentileInterval(estimates);
}

std::vector<ProfilePoint> PerformanceProfile(const TaskScores& scores,
                                             std::span<const double> thresholds, uint64_t seed,
                                             int resamples) {
  std::mt19937_64 rng(seed);
  TaskScores resample = scores;
  std::vector<std::vector<double>> estimates(thresholds.size());  // of each threshold
  for (int i = 0; i < resamples; ++i) {
    Resample(scores, rng, resample);
    const std::vector<double> sorted = SortedRuns(resample);
    for (size_t t = 0; t < thresholds.size(); ++t) {
      estimates[t].push_back(ShareAbove(sorted, thresholds[t]));
    }
  }
  const std::vector<double> sorted = SortedRuns(scores);
  std::vector<ProfilePoint> profile;
  for (size_t t = 0; t < thresholds.size(); ++t) {
    profile.push_back(
        {thresholds[t], ShareAbove(sorted, thresholds[t]), PercentileInterval(estimates[t])});
  }
  return profile;
}

}  // namespace cosdt::experiments
