#include "experiments/runs/evaluation.h"

#include <vector>

#include "agents/models/precision.h"
#include "attention/parallel.h"
#include "experiments/scores/return_report.h"

namespace cosdt::experiments {

nlohmann::json EvaluateTargets(const agents::Checkpoint& checkpoint, const envs::Env& env,
                               agents::AgentRolloutOptions options) {
  const bool cloning = !checkpoint.agent.bc().is_empty();
  if (options.targets.empty() && !cloning) options.targets = checkpoint.info.targets;
  const attention::OneThread one;  // the decoder cuts rows into pieces for threads
  const std::vector<agents::RolloutResult> results = agents::RolloutAgent(env, checkpoint, options);
  nlohmann::json entries = nlohmann::json::array();
  for (size_t i = 0; i < results.size(); ++i) {
    nlohmann::json entry = DescribeEpisodes(results[i], env.spec(), options.seed);
    entry["target"] = cloning ? nlohmann::json() : nlohmann::json(options.targets[i]);
    entry["decode"] =
        cloning ? nlohmann::json() : nlohmann::json(agents::DecodeModeName(options.decode));
    entry["precision"] = agents::PrecisionName(options.compute_type);
    entry["context"] = checkpoint.agent.options().context();
    entries.push_back(std::move(entry));
  }
  return entries;
}

}  // namespace cosdt::experiments
