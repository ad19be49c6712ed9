#include "envs/body_tasks.h"

#include <algorithm>
#include <random>
#include <utility>

namespace cosdt::envs {

PartialObservation::PartialObservation(std::string name, const Env& body, int first, int count)
    : Task(std::move(name), body, count), first_(first) {}

void PartialObservation::WriteObservation(std::span<const double> seen,
                                          std::span<double> observation) const {
  std::ranges::copy(seen.subspan(first_, observation.size()), observation.begin());
}

DroppedObservations::DroppedObservations(std::string name, const Env& body, int percent)
    : Task(std::move(name), body, body.spec().observation_size + 1),
      probability_(percent / 100.0) {}

void DroppedObservations::Begin(uint64_t seed) {
  rng_ = MakeRng(seed, 1);
  dropped_ = false;
}

StepResult DroppedObservations::TransformResult(const StepResult& step) {
  dropped_ = std::bernoulli_distribution(probability_)(rng_);
  return step;
}

void DroppedObservations::WriteObservation(std::span<const double> seen,
                                           std::span<double> observation) const {
  std::ranges::fill(observation, 0.0);
  if (!dropped_) std::ranges::copy(seen, observation.begin());
  observation.back() = dropped_;
}

DelayedReward::DelayedReward(std::string name, const Env& body)
    : Task(std::move(name), body, body.spec().observation_size) {}

void DelayedReward::Begin(uint64_t) { sum_ = 0; }

StepResult DelayedReward::TransformResult(const StepResult& step) {
  sum_ += step.reward;
  StepResult paid = step;
  paid.reward = step.terminated || step.truncated ? sum_ : 0;
  return paid;
}

void DelayedReward::WriteObservation(std::span<const double> seen,
                                     std::span<double> observation) const {
  std::ranges::copy(seen, observation.begin());
}

}  // namespace cosdt::envs
