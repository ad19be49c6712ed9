#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace cosdt::experiments {

// The name in metrics.jsonl of a value of an evaluation during training, "eval/return/3600.0",
// "eval/return/auto" or "eval/return", for a target as result.json has it: a number, "auto" or
// null.
inline std::string MetricName(const std::string& value, const nlohmann::json& target) {
  const std::string name = "eval/" + value;
  if (target.is_null()) return name;
  return name + "/" + (target.is_string() ? target.get<std::string>() : target.dump());
}

}  // namespace cosdt::experiments
