#pragma once

#include <string>
#include <string_view>

namespace cosdt::agents {

// Replaces the file as a whole: a kill leaves the old one or the new one. Throws
// std::runtime_error.
void WriteTextFile(const std::string& path, std::string_view text);

}  // namespace cosdt::agents
