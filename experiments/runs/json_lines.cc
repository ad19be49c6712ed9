#include "experiments/runs/json_lines.h"

#include <stdexcept>

#include "datasets/atomic_file.h"

namespace cosdt::experiments {

using nlohmann::json;

JsonLines::JsonLines(std::string path, int64_t last_update) : path_(std::move(path)) {
  std::ifstream before(path_);
  std::string kept;
  for (std::string line; std::getline(before, line);) {
    json object = json::parse(line, nullptr, false);
    const auto update = object.find("update");
    if (update == object.end() || !update->is_number_integer() || *update > last_update) continue;
    kept += line + "\n";
    lines_.push_back(std::move(object));
  }
  datasets::WriteFile(path_, kept);
  file_.open(path_, std::ios::app);
}

void JsonLines::Append(json line) {
  if (!lines_.empty() && lines_.back() == line) return;
  file_ << line.dump() << "\n" << std::flush;
  if (!file_) throw std::runtime_error(path_ + ": writing failed");
  lines_.push_back(std::move(line));
}

}  // namespace cosdt::experiments
