// The datasets of a sweep, identified by their files: however a path is spelled and wherever the
// file lies, its cells are the same.
#pragma once

#include <string>
#include <vector>

namespace cosdt::experiments {

struct SweepDataset {
  std::string given;  // as the sweep has it
  std::string path;   // its file; a demo dataset's may still have to be made

  // "hopper-medium-v2", "demo/hopper-medium" and the like, also if these are given by a path; a
  // Minari dataset's path below its root, "mujoco/hopper/medium-v0"; else the file's name without
  // its extension. If files of a sweep share a name, as much of their paths precedes it as
  // distinguishes them.
  std::string name;
};

// Throws std::invalid_argument for unknown datasets and paths that are not UTF-8, and
// CLI::ValidationError for two that are the same file. data_dir as FindOrMakeDataset takes it.
std::vector<SweepDataset> FindSweepDatasets(const std::vector<std::string>& given,
                                            const std::string& data_dir);

}  // namespace cosdt::experiments
