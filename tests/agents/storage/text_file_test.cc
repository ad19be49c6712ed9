#include "agents/storage/text_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace cosdt::agents {
namespace {

namespace fs = std::filesystem;

TEST(TextFileTest, TemporariesOfKilledProcessesAreRemovedAndNothingElse) {
  const fs::path folder = fs::path(testing::TempDir()) / ("text_file_" + std::to_string(getpid()));
  fs::create_directories(folder / "a.1.tmp");
  const std::vector<std::string> stay = {"last.safetensors", "notes.tmp", "a.b.tmp", "a.12",
                                         "a.1x.tmp",         ".tmp",      "a..tmp"};
  for (const std::string& name : stay) std::ofstream(folder / name) << name;
  for (const char* name : {"last.safetensors.4711.tmp", "state.hdf5.1.tmp"}) {
    std::ofstream(folder / name) << name;
  }
  RemoveTemporaries(folder.string());
  std::vector<std::string> found;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.is_regular_file()) found.push_back(entry.path().filename());
  }
  EXPECT_THAT(found, testing::UnorderedElementsAreArray(stay));
  EXPECT_TRUE(fs::is_directory(folder / "a.1.tmp"));
  fs::remove_all(folder);
}

}  // namespace
}  // namespace cosdt::agents
