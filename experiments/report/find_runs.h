#pragma once

#include <string>
#include <vector>

namespace cosdt::experiments {

struct FoundRuns {
  std::vector<std::string> folders;   // each run once, in the order of their real paths
  std::vector<std::string> problems;  // what was left out, and why
};

// Searches folders and their subfolders for runs, which have result.json or, if unfinished,
// metrics.jsonl. Symbolic links are followed; a run that several paths lead to counts once, by the
// path with the fewest links. Unreadable folders and broken links become problems. Throws
// datasets::FileError if one of `folders` is no folder.
FoundRuns FindRuns(const std::vector<std::string>& folders);

}  // namespace cosdt::experiments
