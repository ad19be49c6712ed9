#include "experiments/runs/critic_file.h"

#include <filesystem>
#include <stdexcept>

#include "datasets/sha256.h"
#include "experiments/runs/run_files.h"

namespace cosdt::experiments {

CriticFile ReadCriticFile(const std::string& given, const std::string& env,
                          const FileIdentity& dataset) {
  const std::string path = CheckpointPath(given);
  if (!std::filesystem::exists(path)) {
    throw std::invalid_argument("critic: expected a run's folder or a checkpoint, found no file " +
                                path);
  }
  CriticFile critic{agents::ReadCheckpoint(path), {path, datasets::Sha256OfFile(path)}};
  const agents::CheckpointInfo& info = critic.checkpoint.info;
  const agents::AgentOptions& options = critic.checkpoint.agent->options();
  if (!options.has_critics()) {
    throw std::invalid_argument(path + ": expected a critic of td3bc, rebrac or iql, found " +
                                options.name());
  }
  if (info.env != env) {
    throw std::invalid_argument(path + ": expected a critic of " + env + ", found one of " +
                                info.env);
  }
  if (info.dataset_sha256 != dataset.sha256) {
    throw std::invalid_argument(path + ": expected a critic of " + dataset.path + " (SHA-256 " +
                                dataset.sha256 + "), found one of " + info.dataset + " (SHA-256 " +
                                info.dataset_sha256 + ")");
  }
  return critic;
}

}  // namespace cosdt::experiments
