#pragma once

#include <optional>
#include <string>
#include <utility>

#include "agents/models/checkpoint.h"
#include "agents/training/critic_guide.h"
#include "datasets/episodes.h"
#include "datasets/normalizer.h"
#include "experiments/runs/critic_file.h"
#include "experiments/runs/train_options.h"

namespace cosdt::experiments {

// A run's dataset as its options ask for it.
struct TrainData {
  std::string path, sha256;
  std::string remark;           // one line for the user about its physics; "" if there is none
  datasets::Episodes episodes;  // to train on
  datasets::Episodes held_out;  // to validate on; empty unless options ask for them
  datasets::Normalizer normalizer;
  std::optional<CriticFile> critic;  // that guides training; none without
};

// A training run as it will be: its data, and options of which nothing is open, which are valid and
// fit the data. Does not change.
class ResolvedRun {
 public:
  const TrainOptions& options() const { return options_; }
  const TrainData& data() const { return data_; }

 private:
  friend ResolvedRun ResolveRun(TrainOptions options, const std::string& data_dir);
  ResolvedRun(TrainOptions options, TrainData data)
      : options_(std::move(options)), data_(std::move(data)) {}

  TrainOptions options_;
  TrainData data_;
};

// The critic of a run, for the data as they lie in it; null without.
std::shared_ptr<const agents::CriticGuide> MakeCriticGuide(const ResolvedRun& run);

// Reads the dataset (data_dir as FindOrMakeDataset takes it), fills in what the options leave open
// and validates them; the dataset's and the critic's path become absolute. Throws FileError,
// std::invalid_argument, also for a path that is not UTF-8, and c10::ValueError.
ResolvedRun ResolveRun(TrainOptions options, const std::string& data_dir);

}  // namespace cosdt::experiments
