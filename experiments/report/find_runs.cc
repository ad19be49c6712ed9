#include "experiments/report/find_runs.h"

#include <algorithm>
#include <deque>
#include <filesystem>
#include <map>
#include <set>

#include "datasets/file_error.h"

namespace cosdt::experiments {
namespace {

namespace fs = std::filesystem;

class Search {
 public:
  // Links are followed last, so that a run is named by its own path if it has one.
  void Visit(const fs::path& folder) {
    try {
      const fs::path real = fs::canonical(folder);
      if (!visited_.insert(real).second) return;
      if (fs::exists(folder / "result.json") || fs::exists(folder / "metrics.jsonl")) {
        runs_[real] = folder;
        return;
      }
      std::vector<fs::path> entries;
      for (const auto& entry : fs::directory_iterator(folder)) entries.push_back(entry.path());
      std::ranges::sort(entries);
      for (const fs::path& entry : entries) {
        if (fs::is_symlink(entry)) {
          links_.push_back(entry);
        } else if (fs::is_directory(entry)) {
          Visit(entry);
        }
      }
    } catch (const fs::filesystem_error& e) {
      LeaveOut(folder, "a readable folder", e.code().message());
    }
  }

  FoundRuns Finish() {
    for (; !links_.empty(); links_.pop_front()) {
      const fs::path link = links_.front();
      std::error_code error;
      const fs::file_status target = fs::status(link, error);
      if (fs::is_directory(target)) {
        Visit(link);
      } else if (error) {
        const bool gone = target.type() == fs::file_type::not_found;
        LeaveOut(link, "a link to a folder", gone ? "one that leads nowhere" : error.message());
      }
    }
    FoundRuns found;
    for (const auto& [real, folder] : runs_) found.folders.push_back(folder.string());
    found.problems = std::move(problems_);
    return found;
  }

 private:
  void LeaveOut(const fs::path& path, const std::string& expected, const std::string& found) {
    problems_.push_back(datasets::FileError(path.string(), "", expected, found).what());
  }

  std::set<fs::path> visited_;
  std::deque<fs::path> links_;
  std::map<fs::path, fs::path> runs_;
  std::vector<std::string> problems_;
};

}  // namespace

FoundRuns FindRuns(const std::vector<std::string>& folders) {
  Search search;
  for (const std::string& folder : folders) {
    std::error_code error;
    if (!fs::is_directory(folder, error)) {
      const bool missing = !error || error == std::errc::no_such_file_or_directory;
      throw datasets::FileError(folder, "", "a folder with runs",
                                missing ? "none" : error.message());
    }
    search.Visit(folder);
  }
  return search.Finish();
}

}  // namespace cosdt::experiments
