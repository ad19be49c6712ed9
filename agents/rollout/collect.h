// Transitions by the rules of D4RL's collector.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "agents/policies/policy.h"
#include "agents/processes/process_group.h"
#include "datasets/transitions.h"
#include "envs/env.h"

namespace cosdt::agents {

// A policy and its share of the episodes; shares are relative to each other.
struct WeightedPolicy {
  std::unique_ptr<Policy> policy;
  double weight = 1;
};

struct CollectOptions {
  int64_t transitions = 0;
  uint64_t seed = 0;
  int threads = 1;

  // Called from time to time with the number of transitions so far.
  std::function<void(int64_t)> progress;

  // Processes that play every size-th episode each.
  ProcessGroup* group = nullptr;

  // Throws std::invalid_argument for fewer than one transition or thread.
  void Validate() const;
};

// Plays episodes as D4RL's collector does and gives exactly `transitions` steps of them: a body's
// 1000th step in an episode is a timeout and no terminal, whatever the state; the last episode is
// cut when the count is reached. Policies are given full observations; the result has the task's
// observations, and the simulator's state if there is one. Each episode draws one of the policies
// by weight. Episode i is the same for any number of threads and processes; in a group
// all get all. Throws std::invalid_argument without a policy of positive weight.
datasets::Transitions Collect(const envs::Env& prototype,
                              const std::vector<WeightedPolicy>& policies,
                              const CollectOptions& options);

}  // namespace cosdt::agents
