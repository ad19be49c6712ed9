#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace cosdt::datasets {

struct ReturnStatistics {
  double mean = 0;
  double std = 0;  // divided by n
  double min = 0;
  double max = 0;
};

// A file that D4RL published.
struct KnownFile {
  const char* name;  // "hopper_medium-v2", the file's name without ".hdf5"
  uint64_t bytes;
  const char* sha256;                       // "" if nobody has recorded it
  int episodes;                             // with the trailing partial one
  std::optional<ReturnStatistics> returns;  // of complete episodes, rounded to two digits
};

// The 18 v2 files of hopper, half cheetah and walker2d.
std::span<const KnownFile> KnownFiles();

// By D4RL's name ("hopper-medium-v2"), or the file's ("hopper_medium-v2"). Null for others.
const KnownFile* FindKnownFile(std::string_view name);

// By the name of the file at a path ("data/hopper_medium-v2.hdf5"). Null for others.
const KnownFile* FindKnownPath(const std::string& path);

// Compares a file with D4RL's: its size and then its SHA-256, which is to be `sha256` ("": any).
// Returns its SHA-256. Throws FileError if it is another file.
std::string ExpectKnownFile(const std::string& path, const KnownFile& known,
                            const std::string& sha256);

// By SHA-256 in lower-case hex digits. Null for others.
const KnownFile* FindKnownHash(std::string_view sha256);

// The meaning of a file's name: kind is "random", "medium", "medium-replay", "full-replay",
// "medium-expert" or "expert", version "v0", "v1" or "v2"; "" if it does not say.
struct FileName {
  std::string kind;
  std::string version;
};
FileName ParseFileName(const std::string& path);

}  // namespace cosdt::datasets
