#include "agents/models/return_predictor.h"

#include <algorithm>
#include <stdexcept>
#include <vector>

#include "agents/models/mlp_module.h"

namespace cosdt::agents {
namespace {

constexpr int64_t kPredictorWidth = 256;

}  // namespace

ReturnPredictor::ReturnPredictor(int64_t observation_size, int64_t max_timestep)
    : network(1, observation_size + 1, kPredictorWidth, 1),
      observation_size_(observation_size),
      max_timestep_(max_timestep),
      module_(ViewsOf(network, 0)) {}

void ReturnPredictor::Describe(std::span<const float> observation, int64_t step,
                               std::span<float> to) const {
  std::ranges::copy(observation, to.begin());
  to.back() =
      static_cast<float>(std::min(step, max_timestep_ - 1)) / static_cast<float>(max_timestep_);
}

void ReturnPredictor::Predict(std::span<const float> observations, int64_t step,
                              std::span<float> to) const {
  const auto o = static_cast<size_t>(observation_size_), n = o + 1;
  std::vector<float> rows(to.size() * n);
  for (size_t i = 0; i < to.size(); ++i) {
    Describe(observations.subspan(i * o, o), step, std::span(rows).subspan(i * n, n));
  }
  MlpPasses passes;
  passes.Begin(static_cast<int64_t>(to.size()));
  passes.SmallestOutputs(network, {rows.data(), inputs()}, to.data());
}

void ExpectPredictorFor(std::span<const Target> targets, const ReturnPredictor* predictor) {
  if (predictor || std::ranges::none_of(targets, &Target::is_auto)) return;
  throw std::invalid_argument(
      "targets: expected numbers for an agent that does not predict returns, found auto (cosdt "
      "train --targets auto makes one that does)");
}

}  // namespace cosdt::agents
