// Targets in JSON: a number, or "auto".
#pragma once

#include <nlohmann/json.hpp>

#include "agents/models/target.h"

namespace nlohmann {

template <>
struct adl_serializer<cosdt::agents::Target> {
  using Target = cosdt::agents::Target;

  static void to_json(json& to, const Target& from) {
    to = from.is_auto() ? json(cosdt::agents::kAutoTarget) : json(from.value());
  }
  // Throws json::exception for anything else.
  static Target from_json(const json& from) {
    return from == cosdt::agents::kAutoTarget ? Target::Auto() : Target(from.get<double>());
  }
};

}  // namespace nlohmann
