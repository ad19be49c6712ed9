#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "datasets/action_space.h"
#include "datasets/array_reader.h"
#include "datasets/hdf5_file.h"

namespace cosdt::datasets {

// An opened D4RL HDF5 file of any version. Opening looks at names, types and shapes only:
// observations (N, o), actions (N, a) or integers (N,), and rewards (N,) or (N, 1) must be there,
// and what else D4RL's files have by step must have N rows too. Flags are ReadEpisodeEnds'
// (episode_ends.h). Everything throws FileError.
class D4rlFile {
 public:
  // Where ReadTask finds it.
  static constexpr char kTask[] = "metadata/task";

  // `threads` inflate what the Read functions read.
  explicit D4rlFile(const std::string& path, int threads = 1);

  const Hdf5File& hdf5() const { return file_; }
  const std::string& path() const { return file_.path(); }
  int threads() const { return threads_; }
  uint64_t rows() const { return rows_; }
  int observation_size() const { return observation_size_; }
  int action_size() const { return action_space_.size; }
  const ActionSpace& action_space() const { return action_space_; }

  // timeouts are missing in v0 files, next_observations and infos/* in others.
  bool Has(const std::string& key) const { return file_.Has(key); }

  // The task that the file was made in, "hopper-position": of files of tasks that are more than a
  // body. "" if it does not say, as D4RL's own.
  std::string ReadTask() const;

  // Values per row of the array `key`.
  uint64_t Width(const std::string& key) const;

  // Reads all rows of the array `key` into `out`, which holds rows() x Width(key) values.
  template <typename T>
  void Read(const std::string& key, std::span<T> out) const {
    ReadArray(file_, key, rows_, Width(key), out, threads_);
  }

 private:
  Hdf5File file_;
  int threads_;
  uint64_t rows_ = 0;
  int observation_size_ = 0;
  ActionSpace action_space_;
};

}  // namespace cosdt::datasets
