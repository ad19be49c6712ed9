// Short cost measurements on untrained agents, for `compare --dry-run` and result.json.
#pragma once

#include "envs/env.h"
#include "experiments/runs/resolved_run.h"
#include "experiments/scores/results.h"

namespace cosdt::experiments {

// Trains for about a second. Meant for a process that has not trained before.
TrainingCost MeasureTraining(const ResolvedRun& run, const c10::Device& device);

// cosFormer's recurrent decisions are measured with a reweight length that allows them, whatever
// the agent's own is. Reads only the agent's options, without its sizes.
DecisionCost MeasureDecisions(agents::AgentOptions agent, const envs::EnvSpec& spec);

}  // namespace cosdt::experiments
