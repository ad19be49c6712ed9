#include "experiments/runs/evaluation.h"

#include <vector>

#include "agents/models/precision.h"
#include "attention/parallel.h"
#include "experiments/scores/return_report.h"

namespace cosdt::experiments {

nlohmann::json EvaluateTargets(const agents::Checkpoint& checkpoint, const envs::Env& env,
                               agents::AgentRolloutOptions options) {
  const agents::AgentOptions& agent = checkpoint.agent->options();
  const bool has_targets = agent.reads_targets();
  if (options.targets.empty() && has_targets) options.targets = checkpoint.info.targets;
  const attention::OneThread one;  // the decoder cuts rows into pieces for threads
  const std::vector<agents::RolloutResult> results = agents::RolloutAgent(env, checkpoint, options);
  nlohmann::json entries = nlohmann::json::array();
  for (size_t i = 0; i < results.size(); ++i) {
    nlohmann::json entry = DescribeEpisodes(results[i], env.spec(), options.seed);
    entry["target"] = has_targets ? nlohmann::json(options.targets[i]) : nlohmann::json();
    entry["decode"] =
        has_targets ? nlohmann::json(agents::DecodeModeName(options.decode)) : nlohmann::json();
    entry["precision"] = agents::PrecisionName(options.compute_type);
    entry["context"] = agent.context();
    entries.push_back(std::move(entry));
  }
  return entries;
}

}  // namespace cosdt::experiments
