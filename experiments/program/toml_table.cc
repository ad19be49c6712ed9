#include "experiments/program/toml_table.h"

#include <sstream>
#include <stdexcept>

namespace cosdt::experiments {

toml::table ParseToml(const std::string& source, std::string_view text) {
  try {
    return toml::parse(text, source);
  } catch (const toml::parse_error& e) {
    std::ostringstream message;
    message << source << ": line " << e.source().begin.line
            << ": expected TOML, found: " << e.description();
    throw std::invalid_argument(message.str());
  }
}

}  // namespace cosdt::experiments
