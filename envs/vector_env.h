#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "envs/env.h"
#include "envs/thread_pool.h"

namespace cosdt::envs {

// Several copies of one environment, stepped in lock step by a pool of threads. Results do not
// depend on the number of threads: a copy is touched by one thread at a time and draws from its own
// stream. This is also the boundary to the models: observations and actions are float32 here.
class VectorEnv {
 public:
  // `pool` must outlive this object.
  VectorEnv(const Env& prototype, int count, ThreadPool& pool);

  int size() const { return static_cast<int>(envs_.size()); }
  const EnvSpec& spec() const { return envs_[0]->spec(); }
  const Env& env(int row) const { return *envs_[row]; }

  // Starts an episode in `row`.
  void Reset(int row, uint64_t seed);

  // The same by Env::ResetFrom.
  void ResetFrom(int row, InitialNoise& noise, uint64_t seed);

  // Steps the copies in `rows`, each at most once in the list. actions is [rows.size(),
  // action_size], in the order of `rows`. Throws what Env::Step throws.
  void Step(std::span<const int> rows, std::span<const float> actions);

  // The observation of `row`: observation_size values.
  std::span<const float> observation(int row) const;

  // The observation of env(row).fully_observed(): full_observation_size() values. The same as
  // observation(row) if nothing is hidden.
  std::span<const float> full_observation(int row) const;
  int full_observation_size() const { return envs_[0]->fully_observed().spec().observation_size; }

  // The last Step's result for `row`.
  const StepResult& result(int row) const { return results_[row]; }

 private:
  void Observe(int row);

  ThreadPool& pool_;
  std::vector<std::unique_ptr<Env>> envs_;
  std::vector<StepResult> results_;
  bool hides_;                             // whether full observations are others
  std::vector<float> observations_;        // [size, observation_size]
  std::vector<float> full_observations_;   // [size, full_observation_size], empty unless hides_
  std::vector<double> wide_actions_;       // [size, action_size], scratch
  std::vector<double> wide_observations_;  // [size, the larger of the sizes], scratch
};

}  // namespace cosdt::envs
