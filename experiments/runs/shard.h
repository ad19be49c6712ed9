// What share of a sweep's cells one of several workers trains.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "experiments/runs/train_options.h"

namespace cosdt::experiments {

// Worker `index` of `count`.
struct Shard {
  int64_t index = 0, count = 1;
  std::string source = {};  // "Slurm's array" and the like, if it comes from the environment
};

// "2/8". Throws std::invalid_argument.
Shard ParseShard(const std::string& text);

// The shard in the environment of a Slurm job array or of MPI's starter, read through `get`
// (getenv); without either one shard of one.
Shard ShardFromEnvironment(const std::function<const char*(const char*)>& get);

// What a cell is expected to take, in multiply-adds: the matrix products of training and of an
// evaluation with episodes of 1,000 steps. Depends on the options alone, so that all workers
// agree.
double ExpectedCost(TrainOptions options);

// The shard's cells, ascending: the dearest cells are dealt first, each to the shard that has the
// least to do, so that shards end together.
std::vector<size_t> Deal(const Shard& shard, const std::vector<double>& costs);

}  // namespace cosdt::experiments
