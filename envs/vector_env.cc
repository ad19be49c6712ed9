#include "envs/vector_env.h"

#include <algorithm>
#include <stdexcept>
#include <string>

namespace cosdt::envs {

VectorEnv::VectorEnv(const Env& prototype, int count, ThreadPool& pool)
    : pool_(pool), results_(count), hides_(&prototype.fully_observed() != &prototype) {
  const EnvSpec& spec = prototype.spec();
  for (int i = 0; i < count; ++i) envs_.push_back(prototype.Clone());
  const int full_size = prototype.fully_observed().spec().observation_size;
  observations_.resize(static_cast<size_t>(count) * spec.observation_size);
  if (hides_) full_observations_.resize(static_cast<size_t>(count) * full_size);
  wide_observations_.resize(std::max(observations_.size(), full_observations_.size()));
  wide_actions_.resize(static_cast<size_t>(count) * spec.action_size);
}

void VectorEnv::Reset(int row, uint64_t seed) {
  envs_[row]->Reset(seed);
  Observe(row);
}

void VectorEnv::ResetFrom(int row, InitialNoise& noise, uint64_t seed) {
  envs_[row]->ResetFrom(noise, seed);
  Observe(row);
}

void VectorEnv::Step(std::span<const int> rows, std::span<const float> actions) {
  const size_t width = spec().action_size;
  if (actions.size() != rows.size() * width) {
    throw std::invalid_argument("actions: expected " + std::to_string(rows.size()) + " rows of " +
                                std::to_string(width) + ", found " +
                                std::to_string(actions.size()) + " values");
  }
  pool_.ForEach(static_cast<int>(rows.size()), [&](int i) {
    const int row = rows[i];
    const std::span wide(wide_actions_.data() + row * width, width);
    std::ranges::copy(actions.subspan(i * width, width), wide.begin());
    results_[row] = envs_[row]->Step(wide);
    Observe(row);
  });
}

std::span<const float> VectorEnv::observation(int row) const {
  const size_t width = spec().observation_size;
  return {observations_.data() + row * width, width};
}

std::span<const float> VectorEnv::full_observation(int row) const {
  if (!hides_) return observation(row);
  const size_t width = full_observation_size();
  return {full_observations_.data() + row * width, width};
}

void VectorEnv::Observe(int row) {
  const size_t stride = wide_observations_.size() / envs_.size();
  const auto observe = [&](const Env& env, std::vector<float>& observations) {
    const size_t width = env.spec().observation_size;
    const std::span wide(wide_observations_.data() + row * stride, width);
    env.Observe(wide);
    std::ranges::transform(wide, observations.begin() + static_cast<ptrdiff_t>(row * width),
                           [](double x) { return static_cast<float>(x); });
  };
  observe(*envs_[row], observations_);
  if (hides_) observe(envs_[row]->fully_observed(), full_observations_);
}

}  // namespace cosdt::envs
