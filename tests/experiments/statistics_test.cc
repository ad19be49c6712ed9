#include "experiments/statistics.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

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

}  // namespace
}  // namespace cosdt::experiments
