#include "experiments/runs/evaluation.h"

#include "agents/models/precision.h"
#include "attention/parallel.h"

namespace cosdt::experiments {

std::vector<TargetEvaluation> EvaluateTargets(const agents::Checkpoint& checkpoint,
                                              const envs::Env& env,
                                              agents::AgentRolloutOptions options) {
  const agents::AgentOptions& agent = checkpoint.agent->options();
  const bool has_targets = agent.reads_targets();
  if (options.targets.empty() && has_targets) options.targets = checkpoint.info.targets;
  const attention::OneThread one;  // the decoder cuts rows into pieces for threads
  const std::vector<agents::RolloutResult> results = agents::RolloutAgent(env, checkpoint, options);
  std::vector<TargetEvaluation> entries;
  for (size_t i = 0; i < results.size(); ++i) {
    TargetEvaluation entry;
    static_cast<EpisodeStatistics&>(entry) = DescribeEpisodes(results[i], env.spec(), options.seed);
    if (has_targets) {
      entry.target = options.targets[i];
      entry.decode = agents::DecodeModeName(options.decode);
    }
    entry.precision = agents::PrecisionName(agents::CpuComputeType(options.compute_type));
    entry.context = agent.context();
    entries.push_back(std::move(entry));
  }
  return entries;
}

}  // namespace cosdt::experiments
