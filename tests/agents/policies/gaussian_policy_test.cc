#include "agents/policies/gaussian_policy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numbers>
#include <vector>

#include "datasets/hdf5_file.h"
#include "envs/registry.h"

namespace cosdt::agents {
namespace {

using ::testing::HasSubstr;
using ::testing::Property;
using ::testing::Throws;

datasets::LinearWeights RandomLayer(int outputs, int inputs, envs::Rng& rng) {
  std::normal_distribution<float> normal(0, 1 / std::sqrt(static_cast<float>(inputs)));
  datasets::LinearWeights layer{inputs, outputs, std::vector<float>(outputs * inputs),
                                std::vector<float>(outputs)};
  for (float& w : layer.weight) w = normal(rng);
  for (float& b : layer.bias) b = normal(rng);
  return layer;
}

datasets::PolicyWeights RandomWeights(int observation_size, int action_size) {
  envs::Rng rng = envs::MakeRng(0, 0);
  return {RandomLayer(64, observation_size, rng), RandomLayer(64, 64, rng),
          RandomLayer(action_size, 64, rng), RandomLayer(action_size, 64, rng)};
}

// The same layer in double, one row.
std::vector<double> Apply(const datasets::LinearWeights& layer, const std::vector<double>& x) {
  std::vector<double> y(layer.bias.begin(), layer.bias.end());
  for (int o = 0; o < layer.outputs; ++o) {
    for (int i = 0; i < layer.inputs; ++i)
      y[o] += static_cast<double>(layer.weight[o * layer.inputs + i]) * x[i];
  }
  return y;
}

std::vector<double> Relu(std::vector<double> x) {
  for (double& v : x) v = std::max(v, 0.0);
  return x;
}

struct Acted {
  std::vector<float> actions, log_probs;
};

Acted Act(GaussianPolicy& policy, const std::vector<float>& observations, int rows,
          int action_size) {
  std::vector<envs::Rng> streams;
  for (int i = 0; i < rows; ++i) streams.push_back(envs::MakeRng(1, i));
  std::vector<envs::Rng*> rngs;
  for (envs::Rng& rng : streams) rngs.push_back(&rng);
  Acted acted{std::vector<float>(rows * action_size), std::vector<float>(rows)};
  policy.Act(observations, rngs, acted.actions, acted.log_probs);
  return acted;
}

std::vector<float> RandomObservations(int count) {
  envs::Rng rng = envs::MakeRng(2, 0);
  std::normal_distribution<float> normal;
  std::vector<float> observations(count);
  for (float& x : observations) x = normal(rng);
  return observations;
}

TEST(GaussianPolicyTest, MeanActionMatchesADoubleComputation) {
  const datasets::PolicyWeights weights = RandomWeights(5, 3);
  GaussianPolicy policy(weights, /*deterministic=*/true);
  const std::vector<float> observations = RandomObservations(40 * 5);
  const Acted acted = Act(policy, observations, 40, 3);
  for (int row = 0; row < 40; ++row) {
    const std::vector<double> x(observations.begin() + row * 5,
                                observations.begin() + (row + 1) * 5);
    const std::vector<double> mean =
        Apply(weights.last_fc, Relu(Apply(weights.fc1, Relu(Apply(weights.fc0, x)))));
    for (int i = 0; i < 3; ++i) EXPECT_NEAR(acted.actions[row * 3 + i], std::tanh(mean[i]), 1e-6);
  }
}

TEST(GaussianPolicyTest, LogProbabilityIsThatOfTheTransformedGaussian) {
  const datasets::PolicyWeights weights = RandomWeights(5, 3);
  GaussianPolicy policy(weights, /*deterministic=*/false);
  const std::vector<float> observations = RandomObservations(40 * 5);
  const Acted acted = Act(policy, observations, 40, 3);
  for (int row = 0; row < 40; ++row) {
    const std::vector<double> x(observations.begin() + row * 5,
                                observations.begin() + (row + 1) * 5);
    const std::vector<double> h = Relu(Apply(weights.fc1, Relu(Apply(weights.fc0, x))));
    const std::vector<double> mean = Apply(weights.last_fc, h),
                              log_std = Apply(weights.last_fc_log_std, h);
    double expected = 0;
    for (int i = 0; i < 3; ++i) {
      const double a = acted.actions[row * 3 + i];
      const double z = (std::atanh(a) - mean[i]) / std::exp(log_std[i]);
      expected +=
          -z * z / 2 - log_std[i] - std::log(2 * std::numbers::pi) / 2 - std::log(1 - a * a);
    }
    EXPECT_NEAR(acted.log_probs[row], expected, 1e-3 * std::max(1.0, std::abs(expected)));
  }
}

TEST(GaussianPolicyTest, LogProbabilityStaysFiniteIfTheActionRoundsToOne) {
  for (const float bias : {60.0f, -60.0f}) {
    datasets::PolicyWeights weights = RandomWeights(5, 3);
    std::ranges::fill(weights.last_fc.bias, bias);
    // heads without inputs: mean = bias, log std = 0
    std::ranges::fill(weights.last_fc.weight, 0.0f);
    std::ranges::fill(weights.last_fc_log_std.weight, 0.0f);
    std::ranges::fill(weights.last_fc_log_std.bias, 0.0f);
    GaussianPolicy policy(weights, /*deterministic=*/true);
    const Acted acted = Act(policy, RandomObservations(5), 1, 3);
    EXPECT_EQ(acted.actions[0], std::copysign(1.0f, bias));
    // log(1 - tanh(u)^2) = 2 (log 2 - |u|) up to exp(-120)
    const double expected =
        3 * (-std::log(2 * std::numbers::pi) / 2 - 2 * (std::numbers::ln2 - 60));
    EXPECT_NEAR(acted.log_probs[0], expected, 1e-3);
  }
}

TEST(GaussianPolicyTest, ARowDoesNotDependOnTheOthers) {
  GaussianPolicy policy(RandomWeights(11, 3), /*deterministic=*/false);
  const std::vector<float> observations = RandomObservations(100 * 11);
  const Acted all = Act(policy, observations, 100, 3);
  for (const int rows : {1, 7, 32, 33, 99}) {
    const Acted some = Act(policy, observations, rows, 3);
    EXPECT_EQ(some.actions, std::vector<float>(all.actions.begin(), all.actions.begin() + rows * 3))
        << rows;
  }
}

TEST(GaussianPolicyTest, ARowIsTheSameAtAnyPlaceOfItsBlock) {
  GaussianPolicy policy(RandomWeights(11, 3), /*deterministic=*/true);
  const std::vector<float> one = RandomObservations(11);
  std::vector<float> repeated;
  for (int i = 0; i < 32; ++i) repeated.insert(repeated.end(), one.begin(), one.end());
  const Acted acted = Act(policy, repeated, 32, 3);
  for (int i = 0; i < 32; ++i) {
    for (int j = 0; j < 3; ++j) EXPECT_EQ(acted.actions[i * 3 + j], acted.actions[j]);
  }
}

TEST(LoadGaussianPolicyTest, NamesBothShapesIfTheyDoNotFit) {
  const auto env = envs::MakeEnv("halfcheetah");
  EXPECT_THAT(
      [&] {
        LoadGaussianPolicy(
            datasets::Hdf5File(COSDT_SOURCE_DIR "/tests/published/sac-Hopper-v3.hdf5"), env->spec(),
            false);
      },
      Throws<datasets::FileError>(
          Property(&datasets::FileError::what,
                   HasSubstr("expected 17 observations and 6 actions of halfcheetah, found 11 "
                             "observations and 3 actions"))));
}

}  // namespace
}  // namespace cosdt::agents
