#include "experiments/scores/statistics.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <stdexcept>
#include <vector>

#include "tests/experiments/scores/golden_rliable.h"

namespace cosdt::experiments {
namespace {

// expected values: numpy 2.4.6 and scipy 1.17 on the same numbers
//   x = [3.5, -1, 12.25, 7, 0.5, 9, 4, 4, 100]
//   x.mean(), x.std(), x.std(ddof=1) / 3, scipy.stats.trim_mean(x, 0.25), numpy.median(x)
const std::vector<double> kValues = {3.5, -1, 12.25, 7, 0.5, 9, 4, 4, 100};

TEST(StatisticsTest, AgreesWithNumpyAndScipy) {
  EXPECT_NEAR(Mean(kValues), 15.472222222222221, 1e-12);
  EXPECT_NEAR(Std(kValues), 30.131297046897846, 1e-10);
  EXPECT_NEAR(StandardError(kValues), 10.653022233903831, 1e-10);
  EXPECT_NEAR(InterquartileMean(kValues), 5.5, 1e-12);
  EXPECT_EQ(Median(kValues), 4);
  EXPECT_EQ(Median(std::vector<double>{1, 2, 4, 8}), 3);
}

TEST(StatisticsTest, OneValueHasNoError) {
  const std::vector<double> one = {7};
  EXPECT_EQ(StandardError(one), 0);
  EXPECT_EQ(InterquartileMean(one), 7);
  EXPECT_EQ(BootstrapInterval(one, Mean, 0).low, 7);
}

TEST(BootstrapIntervalTest, CoversTheTrueMeanAsOftenAsItSays) {
  std::mt19937_64 rng(1);
  std::normal_distribution<double> normal(5, 2);
  int covered = 0;
  constexpr int kTrials = 200;
  for (int trial = 0; trial < kTrials; ++trial) {
    std::vector<double> values(60);
    for (double& x : values) x = normal(rng);
    const Interval interval = BootstrapInterval(values, Mean, trial);
    covered += interval.low <= 5 && 5 <= interval.high;
  }
  // binomial: 95 % of 200 within four standard deviations
  EXPECT_GE(covered, 177);
  EXPECT_LE(covered, 200);
}

TEST(BootstrapIntervalTest, IsTheSameForTheSameSeed) {
  const Interval a = BootstrapInterval(kValues, InterquartileMean, 3);
  const Interval b = BootstrapInterval(kValues, InterquartileMean, 3);
  EXPECT_EQ(a.low, b.low);
  EXPECT_EQ(a.high, b.high);
  EXPECT_LT(a.low, a.high);
}

constexpr int kManyResamples = 50'000;  // as many as the golden intervals have

// Two bootstraps' 2.5 % quantiles of 50,000 resamples differ by about 0.004 of the interval's width
// (one standard deviation, of a normal distribution); `step` is how finely the estimate is grained.
void ExpectInterval(const Interval& interval, const Interval& expected, double step) {
  const double tolerance = std::max(0.02 * (expected.high - expected.low), 1.001 * step);
  EXPECT_NEAR(interval.low, expected.low, tolerance);
  EXPECT_NEAR(interval.high, expected.high, tolerance);
}

TEST(AggregateTest, AgreesWithRliable) {
  struct Case {
    const TaskScores& scores;
    double (*aggregate)(const TaskScores&);
    golden::Estimate expected;
  };
  for (const Case& c : {Case{golden::kX, AggregateMean, golden::kXMean},
                        {golden::kX, AggregateMedian, golden::kXMedian},
                        {golden::kX, AggregateInterquartileMean, golden::kXIqm},
                        {golden::kY, AggregateMean, golden::kYMean},
                        {golden::kY, AggregateMedian, golden::kYMedian},
                        {golden::kY, AggregateInterquartileMean, golden::kYIqm}}) {
    EXPECT_NEAR(c.aggregate(c.scores), c.expected.value, 1e-12);
    ExpectInterval(StratifiedInterval(c.scores, c.aggregate, 1, kManyResamples),
                   c.expected.interval, 0);
  }
}

TEST(AggregateTest, WeighsTasksNotRuns) {
  const TaskScores scores = {{1, 2, 3, 4, 5}, {10}, {100, 200}};
  EXPECT_DOUBLE_EQ(AggregateMean(scores), (3 + 10 + 150) / 3.0);
  EXPECT_EQ(AggregateMedian(scores), 10);
  EXPECT_DOUBLE_EQ(AggregateInterquartileMean(scores), (3 + 4 + 5 + 10) / 4.0);
}

TEST(StratifiedIntervalTest, KeepsTasksApart) {
  // runs that do not differ within a task leave nothing uncertain, however tasks differ
  const Interval certain = StratifiedInterval({{1, 1, 1}, {90, 90, 90}}, AggregateMean, 0);
  EXPECT_EQ(certain.low, 45.5);
  EXPECT_EQ(certain.high, 45.5);
  const Interval a = StratifiedInterval(golden::kX, AggregateMean, 3);
  const Interval b = StratifiedInterval(golden::kX, AggregateMean, 3);
  EXPECT_EQ(a.low, b.low);
  EXPECT_EQ(a.high, b.high);
  EXPECT_LT(a.low, a.high);
}

TEST(ProbabilityOfImprovementTest, AgreesWithRliable) {
  EXPECT_NEAR(ProbabilityOfImprovement(golden::kX, golden::kY), golden::kImprovement.value, 1e-12);
  ExpectInterval(ProbabilityOfImprovementInterval(golden::kX, golden::kY, 1, kManyResamples),
                 golden::kImprovement.interval, 1.0 / (2 * 7 * 5 * 4));
}

TEST(ProbabilityOfImprovementTest, CountsTiesHalfAndIsFair) {
  EXPECT_EQ(ProbabilityOfImprovement({{1, 2}}, {{0}}), 1);
  EXPECT_EQ(ProbabilityOfImprovement({{1, 2}}, {{1, 2}}), 0.5);
  EXPECT_EQ(ProbabilityOfImprovement({{1, 2}}, {{2}}), 0.25);
  EXPECT_DOUBLE_EQ(ProbabilityOfImprovement(golden::kX, golden::kY) +
                       ProbabilityOfImprovement(golden::kY, golden::kX),
                   1);
  EXPECT_THROW(ProbabilityOfImprovement({{1}}, {{1}, {2}}), std::invalid_argument);
}

TEST(PerformanceProfileTest, AgreesWithRliable) {
  std::vector<double> thresholds;
  for (const ProfilePoint& point : golden::kXProfile) thresholds.push_back(point.threshold);
  const auto profile = PerformanceProfile(golden::kX, thresholds, 1, kManyResamples);
  ASSERT_EQ(profile.size(), golden::kXProfile.size());
  for (size_t i = 0; i < profile.size(); ++i) {
    EXPECT_EQ(profile[i].threshold, thresholds[i]);
    EXPECT_NEAR(profile[i].share, golden::kXProfile[i].share, 1e-12);
    ExpectInterval(profile[i].interval, golden::kXProfile[i].interval, 1.0 / 28);
  }
}

TEST(PerformanceProfileTest, FallsFromAllToNone) {
  std::vector<double> thresholds;
  for (double t = -30; t <= 100; t += 5) thresholds.push_back(t);
  const auto profile = PerformanceProfile(golden::kX, thresholds, 0);
  EXPECT_EQ(profile.front().share, 1);
  EXPECT_EQ(profile.back().share, 0);
  for (size_t i = 1; i < profile.size(); ++i) {
    EXPECT_LE(profile[i].share, profile[i - 1].share);
    EXPECT_LE(profile[i].interval.low, profile[i].share);
    EXPECT_GE(profile[i].interval.high, profile[i].share);
  }
}

}  // namespace
}  // namespace cosdt::experiments
