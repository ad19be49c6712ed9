#include "datasets/atomic_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "tests/read_bytes.h"

namespace cosdt::datasets {
namespace {

namespace fs = std::filesystem;

class AtomicFileTest : public ::testing::Test {
 protected:
  AtomicFileTest() : folder_(::testing::TempDir() + "/atomic_" + std::to_string(getpid())) {
    fs::create_directories(folder_);
  }
  ~AtomicFileTest() override { fs::remove_all(folder_); }

  std::vector<std::string> Names() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder_)) {
      names.push_back(entry.path().filename());
    }
    return names;
  }

  const std::string folder_, path_ = folder_ + "/file";
};

TEST_F(AtomicFileTest, TheOldFileStaysUntilCommit) {
  WriteFile(path_, "old");
  {
    AtomicFile file(path_);
    file.Append("ne", 2);
    file.Append("w", 1);
    EXPECT_EQ(ReadBytes(path_), "old");
    EXPECT_EQ(ReadBytes(file.temporary()), "new");
  }
  EXPECT_EQ(ReadBytes(path_), "old");
  EXPECT_THAT(Names(), testing::ElementsAre("file"));
  WriteFile(path_, "new");
  EXPECT_EQ(ReadBytes(path_), "new");
  EXPECT_THAT(Names(), testing::ElementsAre("file"));
}

TEST_F(AtomicFileTest, AKillLeavesTheOldFile) {
  WriteFile(path_, "old");
  const pid_t child = fork();
  if (child == 0) {
    AtomicFile file(path_);
    file.Append("new", 3);
    raise(SIGKILL);
  }
  waitpid(child, nullptr, 0);
  EXPECT_EQ(ReadBytes(path_), "old");
  EXPECT_THAT(Names(),
              testing::UnorderedElementsAre("file", "file." + std::to_string(child) + ".tmp"));
  RemoveTemporaries(folder_);
  EXPECT_THAT(Names(), testing::ElementsAre("file"));
}

// RLIMIT_FSIZE stands for a disk that fills up: write fails with EFBIG as it would with ENOSPC.
TEST_F(AtomicFileTest, AFullDiskLeavesTheOldFile) {
  WriteFile(path_, "old");
  const pid_t child = fork();
  if (child == 0) {
    signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{1000, 1000};
    setrlimit(RLIMIT_FSIZE, &limit);
    try {
      WriteFile(path_, std::string(3000, 'x'));
    } catch (const std::runtime_error& error) {
      _exit(error.what() == path_ + ": writing failed: File too large" ? 7 : 8);
    }
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 7);
  EXPECT_EQ(ReadBytes(path_), "old");
  EXPECT_THAT(Names(), testing::ElementsAre("file"));
}

TEST_F(AtomicFileTest, WritesAnEmptyFile) {
  WriteFile(path_, "");
  EXPECT_EQ(fs::file_size(path_), 0u);
}

TEST_F(AtomicFileTest, NamesTheFileThatCannotBeWritten) {
  const auto message = [](const std::string& path) {
    try {
      WriteFile(path, "x");
    } catch (const std::runtime_error& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  EXPECT_EQ(message(folder_), folder_ + ": expected a file to write, found a folder");
  EXPECT_EQ(message(folder_ + "/none/file"),
            folder_ + "/none/file: writing failed: No such file or directory");
}

TEST_F(AtomicFileTest, TemporariesOfKilledProcessesAreRemovedAndNothingElse) {
  fs::create_directories(folder_ + "/a.1.tmp");
  std::vector<std::string> stay = {"last.safetensors", "notes.tmp", "a.b.tmp", "a.12",
                                   "a.1x.tmp",         ".tmp",      "a..tmp"};
  for (const std::string& name : stay) std::ofstream(folder_ + "/" + name) << name;
  for (const char* name : {"last.safetensors.4711.tmp", "state.hdf5.1.tmp"}) {
    std::ofstream(folder_ + "/" + name) << name;
  }
  RemoveTemporaries(folder_);
  stay.push_back("a.1.tmp");  // a folder
  EXPECT_THAT(Names(), testing::UnorderedElementsAreArray(stay));
}

}  // namespace
}  // namespace cosdt::datasets
