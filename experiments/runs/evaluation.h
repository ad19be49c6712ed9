#pragma once

#include <vector>

#include "agents/models/checkpoint.h"
#include "agents/rollout/agent_rollout.h"
#include "envs/env.h"
#include "experiments/scores/results.h"

namespace cosdt::experiments {

// Plays the episodes that the options ask for, with the checkpoint's own targets if they have none.
// One entry per target, and one for behaviour cloning. Throws what RolloutAgent throws.
std::vector<TargetEvaluation> EvaluateTargets(const agents::Checkpoint& checkpoint,
                                              const envs::Env& env,
                                              agents::AgentRolloutOptions options);

}  // namespace cosdt::experiments
