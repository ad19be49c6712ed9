#pragma once

#include <nlohmann/json.hpp>

#include "agents/models/checkpoint.h"
#include "agents/rollout/agent_rollout.h"
#include "envs/env.h"

namespace cosdt::experiments {

// Plays the episodes that the options ask for; without targets a Decision Transformer is asked for
// the checkpoint's own. One entry for each target, and one for behaviour cloning: what
// DescribeEpisodes gives (return_report.h), target, decode (both null for behaviour cloning) and
// context. Throws what RolloutAgent throws.
nlohmann::json EvaluateTargets(const agents::Checkpoint& checkpoint, const envs::Env& env,
                               agents::AgentRolloutOptions options);

}  // namespace cosdt::experiments
