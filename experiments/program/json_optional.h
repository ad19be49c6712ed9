// std::optional in JSON: null if it is empty.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>

namespace nlohmann {

template <class T>
struct adl_serializer<std::optional<T>> {
  static void to_json(json& to, const std::optional<T>& from) { to = from ? json(*from) : json(); }
  static void from_json(const json& from, std::optional<T>& to) {
    to = from.is_null() ? std::optional<T>() : std::optional<T>(from.get<T>());
  }
};

}  // namespace nlohmann
