#include "experiments/evaluation.h"

#include <ATen/Parallel.h>

#include <vector>

#include "agents/precision.h"
#include "experiments/return_report.h"

namespace cosdt::experiments {
namespace {

// Rows are cut into pieces for threads by the decoder, not by LibTorch.
class OneTorchThread {
 public:
  OneTorchThread() { at::set_num_threads(1); }
  ~OneTorchThread() { at::set_num_threads(before_); }
  OneTorchThread(const OneTorchThread&) = delete;
  OneTorchThread& operator=(const OneTorchThread&) = delete;

 private:
  int before_ = at::get_num_threads();
};

}  // namespace

nlohmann::json EvaluateTargets(const agents::Checkpoint& checkpoint, const envs::Env& env,
                               agents::AgentRolloutOptions options) {
  const bool cloning = !checkpoint.agent.bc().is_empty();
  if (options.targets.empty() && !cloning) options.targets = checkpoint.info.targets;
  const OneTorchThread one;
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
