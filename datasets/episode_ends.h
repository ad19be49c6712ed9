#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "datasets/d4rl_file.h"
#include "datasets/hdf5_file.h"

namespace cosdt::datasets {

// A flag that is neither 0 nor 1, or that another one contradicts.
class FlagError : public FileError {
 public:
  // "FILE: ARRAY: row ROW: expected EXPECTED, found FOUND".
  FlagError(const std::string& file, const std::string& array, size_t row,
            const std::string& expected, const std::string& found)
      : FileError(file, array + ": row " + std::to_string(row), expected, found),
        array_(array),
        row_(row) {}

  const std::string& array() const { return array_; }
  size_t row() const { return row_; }

 private:
  std::string array_;
  size_t row_;
};

// The `rows` flags of the dataset `key`, of any numeric type, as 0 or 1. Throws FileError if they
// cannot be read, FlagError if one is another value or none.
std::vector<uint8_t> ReadFlags(const Hdf5File& file, const std::string& key, uint64_t rows,
                               int threads);

// Which rows end episodes.
struct EpisodeEnds {
  std::vector<uint8_t> terminals;  // [rows], 0 or 1
  std::vector<uint8_t> timeouts;   // [rows], 0 or 1; empty if the file does not say (v0)
};

// Reads the flags of a D4RL file by the names that projects have for them:
//   terminals, terminations, terminated   a terminal state (D4RL, gymnasium); one must be there
//   timeouts, truncations, truncated      an end that is none
//   episode_terminals                     the last row of every episode (d3rlpy 1)
//   dones, done                           terminals in some projects, every end in others
// Several are read together and must say the same; what `dones` marks is not guessed: it must agree
// with the others in one of its meanings, and does not suffice alone. Throws FileError, and
// FlagError for the first row in which two contradict each other.
EpisodeEnds ReadEpisodeEnds(const D4rlFile& file);

}  // namespace cosdt::datasets
