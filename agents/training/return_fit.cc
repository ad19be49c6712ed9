#include "agents/training/return_fit.h"

#include <ATen/CPUGeneratorImpl.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "envs/env.h"

namespace cosdt::agents {
namespace {

constexpr uint64_t kReturnStream = 0x72657475;  // apart from other uses of seeds
constexpr double kReturnExpectile = 0.99;       // Reinformer's
constexpr double kReturnRate = 1e-3;
constexpr size_t kReturnBatch = 256;

}  // namespace

ExpectileFit::ExpectileFit(MlpStack& network, double expectile)
    : network_(network),
      expectile_(static_cast<float>(expectile)),
      learned_(network.parameters()) {}

double ExpectileFit::Update(kernels::Rows inputs, std::span<const float> targets,
                            double learning_rate) {
  const auto rows = static_cast<int64_t>(targets.size());
  const float share = 2 / static_cast<float>(rows);
  double sum = 0;
  network_.PrepareBackward();
  passes_.Begin(rows);
  passes_.Fit(network_, inputs, [&](int64_t, int64_t begin, int64_t count, kernels::Rows outputs) {
    for (int64_t i = 0; i < count; ++i) {
      const float u = targets[static_cast<size_t>(begin + i)] - outputs.data[i];
      const float weight = u < 0 ? 1 - expectile_ : expectile_;
      sum += double{weight} * u * u;
      outputs.data[i] = -share * weight * u;
    }
  });
  learned_.Step(network_.gradients(), learning_rate);
  return sum / static_cast<double>(rows);
}

std::shared_ptr<const ReturnPredictor> FitReturnPredictor(const datasets::Episodes& episodes,
                                                          const datasets::Normalizer& normalizer,
                                                          double return_scale, int64_t max_timestep,
                                                          uint64_t seed, int64_t updates) {
  const auto predictor = std::make_shared<ReturnPredictor>(episodes.observation_size, max_timestep);
  predictor->network.Initialize(at::make_generator<at::CPUGeneratorImpl>(seed ^ kReturnStream));
  ExpectileFit fit(predictor->network, kReturnExpectile);
  envs::Rng rng = envs::MakeRng(seed ^ kReturnStream, 0);
  std::uniform_int_distribution<size_t> draw(0, episodes.rows() - 1);
  const auto o = static_cast<size_t>(episodes.observation_size), n = o + 1;
  std::vector<float> observation(o), inputs(kReturnBatch * n), targets(kReturnBatch);
  for (int64_t update = 0; update < updates; ++update) {
    for (size_t i = 0; i < kReturnBatch; ++i) {
      const size_t row = draw(rng);
      const auto next = std::ranges::upper_bound(episodes.offsets, row);  // episode's beginning
      normalizer.Apply(std::span(episodes.observations).subspan(row * o, o), observation);
      predictor->Describe(observation, static_cast<int64_t>(row - *(next - 1)),
                          std::span(inputs).subspan(i * n, n));
      targets[i] = static_cast<float>(episodes.returns_to_go[row] / return_scale);
    }
    const double rate =
        kReturnRate * static_cast<double>(updates - update) / static_cast<double>(updates);
    const double loss = fit.Update({inputs.data(), static_cast<ptrdiff_t>(n)}, targets, rate);
    if (std::isfinite(loss)) continue;
    throw std::invalid_argument("targets: auto: update " + std::to_string(update + 1) +
                                " of the return predictor: expected a finite loss, found " +
                                std::to_string(loss));
  }
  return predictor;
}

}  // namespace cosdt::agents
