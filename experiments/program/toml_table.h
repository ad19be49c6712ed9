#pragma once

#include <string>
#include <string_view>

#define TOML_EXCEPTIONS 1
#include <toml++/toml.h>

namespace cosdt::experiments {

// Throws std::invalid_argument naming `source` and the line that is no TOML.
toml::table ParseToml(const std::string& source, std::string_view text);

}  // namespace cosdt::experiments
