#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace cosdt::datasets {

// Writes the complete episodes of several files one after the other, as D4RL's medium-expert files
// have them: the arrays by step that all files have, and of metadata the task and the physics.
// Files without timeouts are cut at `horizon`; a file that does not say its physics goes with
// d4rl's alone, and then the result does not say it either. Throws FileError if files do not fit
// each other, std::runtime_error if writing fails.
void ConcatFiles(const std::vector<std::string>& paths, const std::string& out, int threads,
                 size_t horizon = 1000);

}  // namespace cosdt::datasets
