#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "agents/decoding/agent_session.h"
#include "agents/models/checkpoint.h"
#include "agents/processes/process_group.h"
#include "agents/rollout/rollout.h"
#include "envs/env.h"

namespace cosdt::agents {

struct AgentRolloutOptions {
  std::vector<Target> targets = {};  // returns to ask for; none for behaviour cloning
  int episodes = 100;                // of each target
  uint64_t seed = 0;
  envs::Seeding seeding = envs::Seeding::kStreams;
  int threads = 1;
  DecodeMode decode = DecodeMode::kWindow;
  torch::ScalarType compute_type = torch::kFloat32;         // or bfloat16 (DecoderFactory)
  std::shared_ptr<const CandidateCritic> critic = nullptr;  // as SessionOptions'
  bool sample_actions = false;  // draw discrete actions; otherwise the most likely ones are taken

  // Called after every reset and step of the first target's episode 0, for recording it.
  std::function<void(const envs::Env&)> watch = nullptr;

  // Called after every step with the number of episodes that have ended, of all targets; running
  // ones count by the part of the horizon behind them.
  std::function<void(double)> progress = nullptr;

  // Processes that play a share of the episodes each; all get all results.
  ProcessGroup* group = nullptr;

  // Throws std::invalid_argument for fewer than one episode or thread, and for targets that are
  // not finite.
  void Validate() const;
};

// Plays the episodes of all targets in waves of AgentSession::RowsAtOnce. A wave runs in lock step,
// one decision for all rows per step; finished rows leave. Gives one result per target, and one for
// behaviour cloning, which has no targets. Episode i begins in the same state for every target, and
// is the same for any number of episodes, targets, threads and processes. Throws
// std::invalid_argument naming the sizes if the agent does not fit the environment, if targets are
// missing or not wanted, or auto for an agent without a return predictor, and what DecoderFactory
// throws.
std::vector<RolloutResult> RolloutAgent(const envs::Env& prototype, const Checkpoint& checkpoint,
                                        const AgentRolloutOptions& options);

// Throws std::invalid_argument naming both sizes if the agent does not fit the environment.
void CheckFits(const Agent& agent, const envs::EnvSpec& spec);

}  // namespace cosdt::agents
