#pragma once

#include <string>

namespace cosdt::experiments {

// Runs the gnuplot program on a script and returns what it prints. Throws std::runtime_error if
// it cannot be started or fails.
std::string RunGnuplot(const std::string& script);

// `text` as a quoted gnuplot string. Control characters, which could end the string, become spaces.
std::string GnuplotString(const std::string& text);

}  // namespace cosdt::experiments
