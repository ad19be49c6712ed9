#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "datasets/known_files.h"

namespace cosdt::datasets {

inline constexpr char kD4rlServer[] =
    "http://rail.eecs.berkeley.edu/datasets/offline_rl/gym_mujoco_v2";

struct FetchOptions {
  std::string folder;                // made if it is missing
  std::string mirror = kD4rlServer;  // the URL of the folder that has the file
  int attempts = 5;                  // in a row that bring nothing new

  // Called now and then with the bytes that are there.
  std::function<void(uint64_t)> progress;
};

struct FetchResult {
  std::string path;
  std::string sha256;
  bool was_there = false;     // nothing was downloaded
  bool hash_is_known = true;  // false: only the size could be checked; FILE.sha256 records the hash
};

// Downloads one of D4RL's files to folder/NAME.hdf5. It grows as NAME.hdf5.part, which a later call
// continues, and gets its name only when size and SHA-256 are right; a wrong one is removed.
// Throws FileError if the bytes are not D4RL's, std::runtime_error if the download fails or
// another process is at it.
FetchResult Fetch(const KnownFile& file, const FetchOptions& options);

}  // namespace cosdt::datasets
