// Episodes of a policy without memory: their returns and lengths.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "agents/policies/policy.h"
#include "agents/processes/process_group.h"
#include "envs/env.h"
#include "envs/seeding.h"

namespace cosdt::agents {

struct RolloutOptions {
  int episodes = 10;
  uint64_t seed = 0;
  envs::Seeding seeding = envs::Seeding::kStreams;
  int threads = 1;

  // Called after every reset and step of episode 0, for recording it.
  std::function<void(const envs::Env&)> watch = nullptr;

  // Processes that play a share of the episodes each; all get all results.
  ProcessGroup* group = nullptr;

  // Throws std::invalid_argument for fewer than one episode or thread.
  void Validate() const;
};

struct RolloutResult {
  std::vector<double> returns;  // undiscounted, of each episode
  std::vector<int> lengths;     // in steps
  int diverged = 0;             // episodes that the simulator ended
};

// Plays whole episodes in lock step, one call of the policy per step; it is given the environment's
// full observations. Episode i is the same for any number of episodes, threads and processes.
// Throws std::invalid_argument for options that are not valid.
RolloutResult Rollout(const envs::Env& prototype, Policy& policy, const RolloutOptions& options);

}  // namespace cosdt::agents
