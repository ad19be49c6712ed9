#pragma once

#include <string>
#include <string_view>

namespace cosdt::envs {

// POPGym's levels of a task.
enum class Level { kEasy, kMedium, kHard };

inline constexpr std::string_view kLevelNames[] = {"easy", "medium", "hard"};

// The value for a level of the three given.
template <class T>
const T& AtLevel(const T (&values)[3], Level level) {
  return values[static_cast<int>(level)];
}

// "popgym-repeat-first" and kHard give "popgym-repeat-first-hard".
inline std::string LevelName(std::string_view task, Level level) {
  return std::string(task) + "-" + std::string(AtLevel(kLevelNames, level));
}

}  // namespace cosdt::envs
