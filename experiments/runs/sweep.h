// The sweep that `cosdt compare` runs: contexts x attention kinds x datasets x seeds, and baselines
// that have no context.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "experiments/runs/train_options.h"

namespace cosdt::experiments {

struct Sweep {
  std::vector<std::string> datasets;
  std::vector<std::string> attention = {"cosformer", "softmax"};
  std::vector<int64_t> contexts = {1, 20, 100};
  std::vector<std::string> baselines;  // bc, bc-10% that learns from the best tenth, and
                                       // agents with critics: td3bc, rebrac, iql
  std::vector<uint64_t> seeds = {0, 1, 2};

  // Equal for all contexts: updates, or tokens; then `updates` is the longest context's
  // and shorter ones get as many more.
  std::string budget = "updates";

  TrainOptions train;                              // of every cell, but for the cell's own options
  std::map<std::string, std::string> per_dataset;  // TOML with options for one dataset
};

// One training run of a sweep.
struct Cell {
  std::string name;      // its folder in the sweep's: demo-hopper-medium/cosformer-K20/seed-0
  std::string data;      // the dataset's file
  TrainOptions options;  // to be resolved when the data are read
};

// Options of `cosdt train` that a sweep cannot set: its cells do, or they mean nothing there.
inline const std::set<std::string> kCellOptions = {"dataset",   "env",     "top",  "agent",
                                                   "attention", "context", "seed", "eval-every"};

// Reads a sweep file: the names above, a table [train] with options of `cosdt train`, and tables
// [dataset."NAME"] with options for one dataset. `source` is named in errors. Throws
// std::invalid_argument for damaged TOML, unknown names and wrong types.
void ReadSweep(const std::string& source, std::string_view toml, Sweep& sweep);

// All cells, seed by seed. Throws std::invalid_argument for an empty or unknown dimension, an
// unknown dataset (data_dir as FindOrMakeDataset takes it), options that do not fit together, such
// as a context beyond cosFormer's reach, and for cells of one name; CLI::ValidationError for a
// value that a list has twice.
std::vector<Cell> MakeCells(const Sweep& sweep, const std::string& data_dir);

}  // namespace cosdt::experiments
