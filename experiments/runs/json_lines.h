#pragma once

#include <cstdint>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace cosdt::experiments {

// A file of JSON objects, one per line, each with its "update" of training.
class JsonLines {
 public:
  // Opens or creates the file. Lines of updates after `last_update`, which a killed run left,
  // and damaged ones are removed. Throws std::runtime_error.
  JsonLines(std::string path, int64_t last_update);

  // All lines, in order.
  const std::vector<nlohmann::json>& lines() const { return lines_; }

  // Does nothing for a line equal to the last one: a run that was killed after writing it appends
  // it again. Throws std::runtime_error if it cannot be written.
  void Append(nlohmann::json line);

 private:
  std::string path_;
  std::vector<nlohmann::json> lines_;
  std::ofstream file_;
};

}  // namespace cosdt::experiments
