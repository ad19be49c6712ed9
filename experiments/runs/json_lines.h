#pragma once

#include <cstdint>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace cosdt::experiments {

// A file of JSON objects, one a line, each with the "update" of training that it tells of.
class JsonLines {
 public:
  // Opens the file, or begins it. Lines of updates after `last_update`, which a killed run left,
  // and damaged ones are removed. Throws std::runtime_error.
  JsonLines(std::string path, int64_t last_update);

  // All lines, in order.
  const std::vector<nlohmann::json>& lines() const { return lines_; }

  // A line equal to the last one is there already: a run that was killed after it had written it
  // writes it again. Throws std::runtime_error where it cannot be written.
  void Append(nlohmann::json line);

 private:
  std::string path_;
  std::vector<nlohmann::json> lines_;
  std::ofstream file_;
};

}  // namespace cosdt::experiments
