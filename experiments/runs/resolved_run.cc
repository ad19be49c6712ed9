#include "experiments/runs/resolved_run.h"

#include <filesystem>
#include <stdexcept>

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

// Reads the episodes that the options keep, and their normalizer.
void ReadKeptEpisodes(const TrainOptions& options, TrainData& data) {
  const bool all = options.normalize_over == "all";
  data.episodes = datasets::ReadEpisodes(
      data.path,
      {.env = options.env, .keep_partial = all, .threads = static_cast<int>(options.threads)});
  if (all) {
    data.normalizer = datasets::MakeNormalizer(data.episodes);
    datasets::KeepEpisodes(data.episodes, datasets::CompleteEpisodes(data.episodes));
  }
  if (options.top < 100) {
    datasets::KeepEpisodes(data.episodes, datasets::TopEpisodes(data.episodes, options.top));
  }
  if (!all) data.normalizer = datasets::MakeNormalizer(data.episodes);
}

}  // namespace

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
