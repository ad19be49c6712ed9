#include "experiments/report/find_runs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "datasets/file_error.h"

namespace cosdt::experiments {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

class FindRunsTest : public ::testing::Test {
 protected:
  FindRunsTest() : folder_(::testing::TempDir() + "cosdt_find_runs_" + std::to_string(getpid())) {
    fs::create_directories(folder_);
    folder_ = fs::canonical(folder_);
  }
  ~FindRunsTest() override { fs::remove_all(folder_); }

  std::string At(const std::string& name) const { return folder_ + "/" + name; }

  void Run(const std::string& name, const std::string& file = "result.json") const {
    fs::create_directories(At(name));
    std::ofstream(At(name) + "/" + file) << "{}";
  }

  std::string folder_;
};

TEST_F(FindRunsTest, FollowsLinksOnceEach) {
  Run("store/1");
  Run("store/2", "metrics.jsonl");
  Run("runs/0");
  fs::create_directory_symlink(At("store/1"), At("runs/a"));
  fs::create_directory_symlink("a", At("runs/b"));               // a second one to the same run
  fs::create_directory_symlink(At("store"), At("runs/c"));       // and a folder with both
  fs::create_directory_symlink(At("runs"), At("store/2/runs"));  // not searched: within a run
  fs::create_directory_symlink(At("runs"), At("runs/cycle"));
  const FoundRuns found = FindRuns({At("runs")});
  EXPECT_THAT(found.folders, ElementsAre(At("runs/0"), At("runs/a"), At("runs/c/2")));
  EXPECT_THAT(found.problems, IsEmpty());
  // by their own paths if these are searched as well
  EXPECT_THAT(FindRuns({At("runs"), At("store")}).folders,
              ElementsAre(At("runs/0"), At("store/1"), At("store/2")));
}

TEST_F(FindRunsTest, NamesLinksThatLeadNowhere) {
  Run("runs/0");
  fs::create_symlink(At("gone"), At("runs/old"));
  fs::create_symlink("loop", At("runs/loop"));
  std::ofstream(At("notes.txt")) << "no run";
  fs::create_symlink(At("notes.txt"), At("runs/notes"));  // a file: nothing is left out
  const FoundRuns found = FindRuns({At("runs")});
  EXPECT_THAT(found.folders, ElementsAre(At("runs/0")));
  EXPECT_THAT(
      found.problems,
      ElementsAre(At("runs/loop") +
                      ": expected a link to a folder, found Too many levels of symbolic links",
                  At("runs/old") + ": expected a link to a folder, found one that leads nowhere"));
}

TEST_F(FindRunsTest, NamesFoldersThatItMayNotRead) {
  Run("runs/0");
  Run("runs/secret/1");
  fs::permissions(At("runs/secret"), fs::perms::none);
  fs::create_directory_symlink(At("runs/secret/1"), At("runs/link"));
  const bool root = geteuid() == 0;  // who may read everything
  if (root) {
    ASSERT_EQ(seteuid(65534), 0);
  }
  const FoundRuns found = FindRuns({At("runs")});
  std::string error = "none";
  try {
    FindRuns({At("runs/secret/1")});
  } catch (const datasets::FileError& e) {
    error = e.what();
  }
  if (root) {
    ASSERT_EQ(seteuid(0), 0);
  }
  fs::permissions(At("runs/secret"), fs::perms::owner_all);
  EXPECT_THAT(found.folders, ElementsAre(At("runs/0")));
  EXPECT_THAT(
      found.problems,
      ElementsAre(At("runs/secret") + ": expected a readable folder, found Permission denied",
                  At("runs/link") + ": expected a link to a folder, found Permission denied"));
  EXPECT_EQ(error, At("runs/secret/1") + ": expected a folder with runs, found Permission denied");
}

}  // namespace
}  // namespace cosdt::experiments
