#include "agents/models/target.h"

#include <charconv>

namespace cosdt::agents {

std::optional<Target> ParseTarget(std::string_view text) {
  if (text == kAutoTarget) return Target::Auto();
  double value = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || rest != end) return std::nullopt;
  return value;
}

}  // namespace cosdt::agents
