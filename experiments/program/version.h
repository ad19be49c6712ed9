#pragma once

#include <string>

namespace cosdt::experiments {

// The versions of the program and of the libraries it is built on, one per line.
std::string VersionText();

std::string TorchVersion();

}  // namespace cosdt::experiments
