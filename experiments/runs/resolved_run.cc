#include "experiments/runs/resolved_run.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <vector>

#include "datasets/file_error.h"
#include "datasets/known_files.h"
#include "datasets/probe.h"
#include "datasets/recorded_env.h"
#include "datasets/sha256.h"
#include "experiments/program/data_physics.h"
#include "experiments/program/dataset_lookup.h"
#include "experiments/program/utf8.h"

namespace cosdt::experiments {
namespace {

// As CORL has them: ReBRAC takes observations as they are; TD3+BC and IQL add 1e-3 to deviations.
void AdaptNormalizer(const std::string& kind, datasets::Normalizer& normalizer) {
  if (kind == "rebrac") {
    std::ranges::fill(normalizer.mean, 0.0f);
    std::ranges::fill(normalizer.std, 1.0f);
  }
  if (kind == "td3bc" || kind == "iql") {
    for (float& std : normalizer.std) std += 1e-3f - 1e-6f;
  }
}

// Moves a share of the episodes to data.held_out, evenly spread over the file: data that were
// collected while a policy learned differ from the beginning to the end. The first one stays.
// Throws std::invalid_argument if no episode would be held out.
void HoldOutEpisodes(double percent, TrainData& data) {
  const auto share = [&](size_t episodes) {
    return std::floor(percent * static_cast<double>(episodes) / 100);
  };
  std::vector<size_t> kept, held;
  for (size_t i = 0; i < data.episodes.size(); ++i) {
    (share(i + 1) > share(i) ? held : kept).push_back(i);
  }
  if (held.empty()) {
    throw std::invalid_argument("validation: expected a share of at least one of " +
                                std::to_string(data.episodes.size()) + " episodes, found " +
                                std::to_string(percent) + " %");
  }
  data.held_out = datasets::CopyEpisodes(data.episodes, held);
  datasets::KeepEpisodes(data.episodes, kept);
}

// Reads the episodes that the options keep, and their normalizer. Agents with critics learn from a
// file's partial episode, too, as D4RL's qlearning_dataset has it.
void ReadKeptEpisodes(const TrainOptions& options, TrainData& data) {
  const bool all = options.normalize_over == "all", critics = options.agent.has_critics();
  data.episodes = datasets::ReadEpisodes(data.path, {.env = options.env,
                                                     .keep_partial = all || critics,
                                                     .threads = static_cast<int>(options.threads)});
  if (all) data.normalizer = datasets::MakeNormalizer(data.episodes);
  if (all && !critics) {
    datasets::KeepEpisodes(data.episodes, datasets::CompleteEpisodes(data.episodes));
  }
  if (options.top < 100) {
    datasets::KeepEpisodes(data.episodes, datasets::TopEpisodes(data.episodes, options.top));
  }
  if (options.validation > 0) HoldOutEpisodes(options.validation, data);
  if (!all) data.normalizer = datasets::MakeNormalizer(data.episodes);
  AdaptNormalizer(options.agent.kind, data.normalizer);
}

// Reads the critic that the options name, which must have learned from the same data.
void ReadCritic(TrainOptions& options, TrainData& data) {
  if (options.critic.empty()) return;
  data.critic = ReadCriticFile(options.critic, options.env, {data.path, data.sha256});
  options.critic = std::filesystem::absolute(options.critic).string();
  ExpectUtf8("critic", options.critic);
}

}  // namespace

std::shared_ptr<const agents::CriticGuide> MakeCriticGuide(const ResolvedRun& run) {
  if (!run.data().critic) return nullptr;
  return std::make_shared<const agents::CriticGuide>(
      run.data().critic->checkpoint, run.data().episodes, run.options().critic_lambda);
}

ResolvedRun ResolveRun(TrainOptions options, const std::string& data_dir) {
  if (options.dataset.empty()) {
    throw std::invalid_argument("dataset: expected a file or a name (--dataset), found none");
  }
  options.ValidateForAnyData();
  TrainData data;
  data.path = FindOrMakeDataset(options.dataset, data_dir);
  // a run may be resumed from another folder
  if (data.path == options.dataset) {
    options.dataset = std::filesystem::absolute(data.path).string();
  }
  ExpectUtf8("dataset", options.dataset);
  ExpectUtf8("dataset", data.path);
  datasets::ProbeFile(data.path);
  data.sha256 = datasets::Sha256OfFile(data.path);
  ReadKeptEpisodes(options, data);
  options.env = data.episodes.env;
  ReadCritic(options, data);
  const datasets::RecordedEnv recorded = datasets::ReadRecordedEnv(
      datasets::Hdf5File(data.path), datasets::FindKnownHash(data.sha256));
  data.remark = ChoosePhysics(recorded, data.path, options.env, options.physics);
  options.FillDefaults();
  options.agent.SetSizes(data.episodes.observation_size, data.episodes.action_size,
                         data.episodes.discrete_actions);
  options.Validate();
  if (options.eval_every > 0 && options.env.empty()) {
    throw std::invalid_argument(
        "eval-every: expected data of a body that cosdt simulates, found others");
  }
  return {std::move(options), std::move(data)};
}

}  // namespace cosdt::experiments
