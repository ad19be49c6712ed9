#pragma once

#include <string>
#include <string_view>

namespace cosdt::agents {

// Replaces the file as a whole: a kill leaves the old one or the new one. Throws
// std::runtime_error.
void WriteTextFile(const std::string& path, std::string_view text);

// Removes what killed processes left in a folder that nobody else works in: files NAME.PID.tmp that
// did not live to get their name.
void RemoveTemporaries(const std::string& folder);

}  // namespace cosdt::agents
