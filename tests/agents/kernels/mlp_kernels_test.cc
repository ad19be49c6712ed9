#include "agents/kernels/mlp_kernels.h"

#include <gtest/gtest.h>
#include <hwy/targets.h>

#include <cmath>
#include <limits>
#include <numbers>
#include <random>
#include <vector>

namespace cosdt::agents::kernels {
namespace {

std::vector<float> RandomValues(int64_t n, uint64_t seed) {
  std::mt19937_64 rng(seed);
  std::normal_distribution<float> normal;
  std::vector<float> x(static_cast<size_t>(n));
  for (float& v : x) v = normal(rng);
  return x;
}

// The processor's best instructions, and those of one without AVX-512.
class MlpKernelsTest : public testing::TestWithParam<bool> {
 protected:
  MlpKernelsTest() {
    if (!GetParam()) Support(hwy::SupportedTargets() & ~(2 * int64_t{HWY_AVX3} - 1));
  }
  ~MlpKernelsTest() override { Support(0); }

 private:
  static void Support(int64_t targets) {
    hwy::SetSupportedTargetsForTest(targets);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  }
};

INSTANTIATE_TEST_SUITE_P(Processors, MlpKernelsTest, testing::Bool(),
                         [](const auto& test) { return test.param ? "best" : "no_avx512"; });

TEST_P(MlpKernelsTest, MultiplyRowsEqualsSumsInFloat64) {
  constexpr int64_t kInputs = 23, kOutputs = 80, kStride = kOutputs + 5;
  for (const int64_t rows : {1, 5, 13, 132}) {
    std::vector<float> x = RandomValues(rows * kInputs, 1);
    const std::vector<float> w = RandomValues(kInputs * kOutputs, 2),
                             bias = RandomValues(kOutputs, 3);
    for (const Epilogue epilogue : {Epilogue::kStore, Epilogue::kRelu, Epilogue::kReluGradient}) {
      const bool biased = epilogue != Epilogue::kReluGradient;
      const std::vector<float> before = RandomValues(rows * kStride, 4);
      std::vector<float> y = before;
      MultiplyRows({x.data(), kInputs}, rows, w.data(), kInputs, kOutputs,
                   biased ? bias.data() : nullptr, epilogue, {y.data(), kStride});
      for (int64_t i = 0; i < rows * kStride; ++i) {
        const int64_t row = i / kStride, o = i % kStride;
        double expected = before[i];
        if (o < kOutputs) {
          expected = biased ? bias[o] : 0;
          for (int64_t k = 0; k < kInputs; ++k) {
            expected += double{x[row * kInputs + k]} * w[k * kOutputs + o];
          }
          if (epilogue == Epilogue::kRelu) expected = std::max(expected, 0.0);
          if (epilogue == Epilogue::kReluGradient && before[i] <= 0) expected = 0;
        }
        ASSERT_NEAR(y[i], expected, 1e-4) << row << " " << o;
      }
    }
  }
}

TEST_P(MlpKernelsTest, TransposeSwapsRowsAndColumns) {
  constexpr int64_t kHeight = 48, kWidth = 32;
  const std::vector<float> x = RandomValues(kHeight * kWidth, 1);
  std::vector<float> y(x.size());
  Transpose(x.data(), kHeight, kWidth, y.data());
  for (int64_t i = 0; i < kHeight * kWidth; ++i) {
    ASSERT_EQ(y[i % kWidth * kHeight + i / kWidth], x[i]);
  }
}

TEST_P(MlpKernelsTest, NarrowLayerEqualsSumsInFloat64) {
  constexpr int64_t kHeight = 9, kWidth = 48;
  for (const int64_t outputs : {1, 3, 8}) {
    std::vector<float> hidden = RandomValues(kHeight * kWidth, 1),
                       gradients = RandomValues(kHeight * outputs, 2), y(kHeight * outputs),
                       hidden_gradients(hidden.size());
    hidden[5] = 0;  // has no gradient
    const std::vector<float> w = RandomValues(outputs * kWidth, 3), bias = RandomValues(outputs, 4);
    NarrowOutputs({hidden.data(), kWidth}, kHeight, w.data(), kWidth, outputs, bias.data(),
                  {y.data(), outputs});
    NarrowHiddenGradients({gradients.data(), outputs}, kHeight, w.data(), kWidth, outputs,
                          {hidden.data(), kWidth}, {hidden_gradients.data(), kWidth});
    for (int64_t row = 0; row < kHeight; ++row) {
      for (int64_t o = 0; o < outputs; ++o) {
        double expected = bias[o];
        for (int64_t i = 0; i < kWidth; ++i) {
          expected += double{hidden[row * kWidth + i]} * w[o * kWidth + i];
        }
        ASSERT_NEAR(y[row * outputs + o], expected, 1e-4);
      }
      for (int64_t i = 0; i < kWidth; ++i) {
        double expected = 0;
        for (int64_t o = 0; o < outputs && hidden[row * kWidth + i] > 0; ++o) {
          expected += double{gradients[row * outputs + o]} * w[o * kWidth + i];
        }
        ASSERT_NEAR(hidden_gradients[row * kWidth + i], expected, 1e-5);
      }
    }
  }
}

// The published algorithm in float64, with sizes that fill no whole vector.
TEST_P(MlpKernelsTest, AdamStepIsThePublishedOne) {
  constexpr int kSize = 35;
  std::vector<float> parameters = RandomValues(kSize, 1), slow = RandomValues(kSize, 2),
                     first(kSize), second(kSize);
  std::vector<double> p(parameters.begin(), parameters.end()), s(slow.begin(), slow.end()),
      m(kSize), v(kSize);
  for (int step = 1; step <= 5; ++step) {
    std::vector<float> gradients = RandomValues(kSize, 10 + static_cast<uint64_t>(step));
    gradients[3] = 0;
    AdamStep(kSize, gradients.data(), step, 0.01, {parameters.data(), first.data(), second.data()},
             slow.data(), 0.1f);
    for (int i = 0; i < kSize; ++i) {
      m[i] = 0.9 * m[i] + 0.1 * gradients[i];
      v[i] = 0.999 * v[i] + 0.001 * gradients[i] * gradients[i];
      p[i] -= 0.01 * (m[i] / (1 - std::pow(0.9, step))) /
              (std::sqrt(v[i] / (1 - std::pow(0.999, step))) + 1e-8);
      s[i] = 0.9 * s[i] + 0.1 * p[i];
      ASSERT_NEAR(parameters[i], p[i], 1e-6);
      ASSERT_NEAR(slow[i], s[i], 1e-6);
    }
  }
}

TEST_P(MlpKernelsTest, TanhGaussianHasItsDensity) {
  const std::vector<float> noise = {0.3f, -1.2f, 0, 2, -0.5f, 1, -2, 0.1f,
                                    0.3f, -1.2f, 0, 2, -0.5f, 1, -2, 0.1f},
                           mean = {0, 0.5f, -0.4f, 3, 1e-4f, 20, -8, 0.2f, 1, 1, 1, 1, 1, 1, 1, 1},
                           log_std = {0, -1, 1, -30, -3, 0.5f, 5, -0.2f, 0, 0, 0, 0, 0, 0, 0, 0};
  std::vector<float> std(kPanel), action(kPanel), log_prob(kPanel);
  SampleTanhGaussian(kPanel, {mean.data(), log_std.data(), noise.data(), std.data(), action.data(),
                              log_prob.data()});
  for (int i = 0; i < kPanel; ++i) {
    const double clamped = std::clamp(log_std[i], -20.0f, 2.0f), deviation = std::exp(clamped);
    const double u = mean[i] + deviation * noise[i];
    // log(1 - tanh(u)^2) = -2 log cosh(u)
    const double expected = -0.5 * noise[i] * noise[i] - clamped -
                            0.5 * std::log(2 * std::numbers::pi) + 2 * std::log(std::cosh(u));
    EXPECT_NEAR(std[i], deviation, 1e-6 * deviation) << i;
    EXPECT_NEAR(action[i], std::tanh(u), 2e-6) << i;
    EXPECT_NEAR(log_prob[i], expected, 1e-5 * (1 + std::abs(expected))) << i;
  }
}

TEST_P(MlpKernelsTest, TanhGaussianKeepsNotANumber) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> zeros(kPanel), nans(kPanel, nan);
  std::vector<float> std(kPanel), action(kPanel), log_prob(kPanel);
  for (const auto& [mean, log_std] : {std::pair{&nans, &zeros}, std::pair{&zeros, &nans}}) {
    SampleTanhGaussian(kPanel, {mean->data(), log_std->data(), zeros.data(), std.data(),
                                action.data(), log_prob.data()});
    for (const float x : log_prob) EXPECT_TRUE(std::isnan(x));
  }
}

}  // namespace
}  // namespace cosdt::agents::kernels
