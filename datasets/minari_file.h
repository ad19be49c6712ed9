#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "datasets/action_space.h"
#include "datasets/episodes.h"
#include "datasets/hdf5_file.h"

namespace cosdt::datasets {

// Whether an HDF5 file has Minari's layout (data/main_data.hdf5: groups episode_0, episode_1, ..).
// Throws FileError if it is no HDF5 file.
bool IsMinariFile(const std::string& path);

// A Minari file: each episode a group with observations (T + 1, o), actions (T, a) or integers
// (T,), rewards, terminations and truncations (T,). Episodes come in the order of their numbers;
// HDF5 sorts episode_10 before episode_2. Everything throws FileError.
class MinariFile {
 public:
  explicit MinariFile(const std::string& path);

  const Hdf5File& hdf5() const { return file_; }
  const std::string& path() const { return file_.path(); }
  int observation_size() const { return observation_size_; }
  int action_size() const { return action_space_.size; }
  const ActionSpace& action_space() const { return action_space_; }

  // Rows offsets()[i] .. offsets()[i + 1] are episode i; every episode has at least one.
  const std::vector<size_t>& offsets() const { return offsets_; }

  // "observations" (without the last of each episode), "next_observations" (without the first),
  // "actions" or "rewards" of all episodes, row-major.
  void Read(const std::string& key, std::span<float> out) const;

  // An episode that neither terminates nor is truncated is partial. Throws FlagError (see
  // episode_ends.h) if one continues after either.
  std::vector<Ending> ReadEndings() const;

 private:
  Hdf5File file_;
  int observation_size_ = 0;
  ActionSpace action_space_;
  std::vector<std::string> groups_;
  std::vector<size_t> offsets_{0};
};

}  // namespace cosdt::datasets
