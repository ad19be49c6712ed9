// File names on Linux are bytes; JSON, TOML and HTML are UTF-8.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace cosdt::experiments {

// The string with U+FFFD for bytes that are not UTF-8.
std::string ToUtf8(const std::string& text);

// Throws std::invalid_argument for a path that is not UTF-8, which a run's files could not name.
void ExpectUtf8(const std::string& what, const std::string& path);

// One line of JSON, its strings as ToUtf8 gives them.
std::string DumpJson(const nlohmann::json& object);

// Prints it to standard output.
void PrintJson(const nlohmann::json& object);

}  // namespace cosdt::experiments
