#include "agents/training/return_fit.h"

#include <ATen/CPUGeneratorImpl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

#include "agents/models/mlp_module.h"
#include "tests/agents/training/golden_return_fit.h"
#include "tests/agents/training/small_training.h"
#include "tests/threads.h"

namespace cosdt::agents {
namespace {

using golden::kFitBatch;
using golden::kFitHidden;
using golden::kFitInputs;
using testing::FloatNear;
using testing::Pointwise;

// Parameters or gradients in PyTorch's order.
std::vector<float> FlatLayers(const MlpStack::Layers& layers) {
  std::vector<torch::Tensor> all;
  for (size_t i = 0; i < layers.size(); ++i) {
    const torch::Tensor weight = layers[i].weight[0];
    all.push_back((i + 1 < layers.size() ? weight.t() : weight).flatten());
    all.push_back(layers[i].bias.flatten());
  }
  const torch::Tensor flat = torch::cat(all);
  return {flat.const_data_ptr<float>(), flat.const_data_ptr<float>() + flat.numel()};
}

// What minimizes the mean of |expectile - 1(u < 0)| u^2, by bisection of its derivative.
double Expectile(const std::vector<float>& values, double expectile) {
  double low = -10, high = 10;
  for (int i = 0; i < 60; ++i) {
    const double middle = (low + high) / 2;
    double sum = 0;
    for (const float x : values) sum += (x < middle ? 1 - expectile : expectile) * (x - middle);
    (sum > 0 ? low : high) = middle;
  }
  return low;
}

datasets::Normalizer NoNormalizer() { return {.mean = {0, 0, 0}, .std = {1, 1, 1}}; }

std::vector<float> Fitted(const datasets::Episodes& episodes, uint64_t seed, int64_t updates) {
  return FlatLayers(
      FitReturnPredictor(episodes, NoNormalizer(), 10, 30, seed, updates)->network.layers());
}

TEST(ExpectileFitTest, UpdatesAsPyTorchDoes) {
  MlpStack network(1, kFitInputs, kFitHidden, 1);
  int64_t offset = 0;
  const torch::Tensor golden = torch::tensor(golden::kFitNetwork);
  for (torch::Tensor& p : ViewsOf(network, 0)->parameters()) {
    p.copy_(golden.narrow(0, offset, p.numel()).view(p.sizes()));
    offset += p.numel();
  }
  ExpectileFit fit(network, golden::kFitExpectile);
  std::vector<float> inputs = golden::kFitInputRows;
  for (int64_t update = 0; update < golden::kFitUpdates; ++update) {
    const std::span targets = std::span(golden::kFitTargets).subspan(update * kFitBatch, kFitBatch);
    const double loss = fit.Update({inputs.data() + update * kFitBatch * kFitInputs, kFitInputs},
                                   targets, golden::kFitLr);
    EXPECT_NEAR(loss, golden::kFitLosses[update], 1e-6) << update;
    if (update > 0) continue;
    EXPECT_THAT(FlatLayers(network.layer_gradients()),
                Pointwise(FloatNear(1e-6f), golden::kFitGradients));
  }
  EXPECT_THAT(FlatLayers(network.layers()), Pointwise(FloatNear(1e-5f), golden::kFitNetworkAfter));
}

TEST(ExpectileFitTest, LearnsTheExpectileOfTargetsWithTheSameInputs) {
  std::mt19937 rng(1);
  std::exponential_distribution<float> draw;
  std::vector<float> targets(64);
  for (float& x : targets) x = draw(rng) - 1;
  const double mean = std::accumulate(targets.begin(), targets.end(), 0.0) / 64;
  EXPECT_NEAR(Expectile(targets, 0.5), mean, 1e-6);
  for (const double expectile : {0.5, 0.9, 0.99}) {
    MlpStack network(1, 2, 16, 1);
    network.Initialize(at::make_generator<at::CPUGeneratorImpl>(3));
    ExpectileFit fit(network, expectile);
    std::vector<float> inputs(2 * targets.size(), 0.5f);
    for (int i = 0; i < 1000; ++i)
      fit.Update({inputs.data(), 2}, targets, 1e-2 * (1000 - i) / 1000);
    float found = 0;
    MlpPasses passes;
    passes.Begin(1);
    passes.SmallestOutputs(network, {inputs.data(), 2}, &found);
    EXPECT_NEAR(found, Expectile(targets, expectile), 1e-3) << expectile;
  }
}

// Returns-to-go that are a function of the timestep alone, but for one episode 10 less.
TEST(FitReturnPredictorTest, PredictsTheLargestReturnsToGoOfAStep) {
  datasets::Episodes episodes = MakeEpisodes();
  std::ranges::fill(episodes.observations, 0.0f);
  for (size_t i = 0; i < episodes.size(); ++i) {
    for (size_t row = episodes.offsets[i]; row < episodes.offsets[i + 1]; ++row) {
      const auto step = static_cast<float>(row - episodes.offsets[i]);
      episodes.returns_to_go[row] = 20 - step / 3 - (i == 1 ? 0.0f : 10.0f);  // the longest
    }
  }
  const auto predictor = FitReturnPredictor(episodes, NoNormalizer(), 10, 30, 4, 600);
  for (const int64_t step : {0, 10, 20}) {
    float found = 0;
    predictor->Predict(std::vector<float>(3), step, {&found, 1});
    EXPECT_NEAR(found, (20 - static_cast<double>(step) / 3) / 10, 0.15) << step;
  }
}

TEST(FitReturnPredictorTest, DependsOnTheSeedAloneAndOnNoNumberOfThreads) {
  const datasets::Episodes episodes = MakeEpisodes();
  const auto fitted = [&] { return Fitted(episodes, 5, 20); };
  const std::vector<float> one = OnThreads(1, fitted);
  torch::manual_seed(9);  // the seed of all else is not read
  EXPECT_EQ(OnThreads(3, fitted), one);
  EXPECT_NE(Fitted(episodes, 6, 20), one);
}

TEST(FitReturnPredictorTest, RefusesValuesThatAreNotFinite) {
  datasets::Episodes episodes = MakeEpisodes();
  std::ranges::fill(episodes.returns_to_go, std::numeric_limits<float>::quiet_NaN());
  EXPECT_THAT([&] { Fitted(episodes, 5, 20); },
              testing::ThrowsMessage<std::invalid_argument>(
                  "targets: auto: update 1 of the return predictor: expected a finite loss, found "
                  "nan"));
}

}  // namespace
}  // namespace cosdt::agents
