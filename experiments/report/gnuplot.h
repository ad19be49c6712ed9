#pragma once

#include <string>

namespace cosdt::experiments {

// Runs the gnuplot program on a script and returns what it prints. Throws std::runtime_error where
// it cannot be started or fails.
std::string RunGnuplot(const std::string& script);

// A text as a gnuplot string. Control characters, with which a text could leave the string, become
// spaces.
std::string GnuplotString(const std::string& text);

}  // namespace cosdt::experiments
