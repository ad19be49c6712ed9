#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace cosdt::agents {

// The return that an episode is asked for, unscaled, or auto: at every step the return-to-go that
// the agent's ReturnPredictor gives (return_predictor.h).
class Target {
 public:
  Target(double value) : value_(value) {}  // NOLINT(google-explicit-constructor): {3600, 1800}
  static Target Auto() { return {}; }

  bool is_auto() const { return !value_; }
  double value() const { return value_.value(); }  // throws std::bad_optional_access for auto

  bool operator==(const Target&) const = default;

 private:
  Target() = default;

  std::optional<double> value_;
};

// Auto in files, flags and JSON.
inline constexpr char kAutoTarget[] = "auto";

// "auto" or a number, in any of std::from_chars' forms; nothing for another string.
std::optional<Target> ParseTarget(std::string_view text);

}  // namespace cosdt::agents
