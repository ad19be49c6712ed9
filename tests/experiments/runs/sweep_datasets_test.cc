#include "experiments/runs/sweep_datasets.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace cosdt::experiments {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;

class SweepDatasetsTest : public testing::Test {
 protected:
  SweepDatasetsTest() { fs::create_directories(folder_); }
  ~SweepDatasetsTest() override { fs::remove_all(folder_); }

  std::string File(const std::string& name) const {
    const fs::path path = folder_ / name;
    fs::create_directories(path.parent_path());
    std::ofstream(path) << name;
    return path.string();
  }

  std::vector<std::string> Names(const std::vector<std::string>& given) const {
    std::vector<std::string> names;
    for (const SweepDataset& d : FindSweepDatasets(given, folder_.string())) {
      names.push_back(d.name);
    }
    return names;
  }

  std::string Error(const std::vector<std::string>& given) const {
    try {
      Names(given);
    } catch (const std::exception& e) {
      return e.what();
    }
    return "none";
  }

  fs::path folder_ =
      fs::path(testing::TempDir()) / ("cosdt_sweep_datasets_" + std::to_string(getpid()));
};

TEST_F(SweepDatasetsTest, NamesDoNotDependOnPaths) {
  const std::string known = File("hopper_medium-v2.hdf5"), demo = File("demo/hopper-medium.hdf5"),
                    own = File("own.h5");
  EXPECT_THAT(Names({"hopper-medium-v2", "demo/hopper-medium", own}),
              ElementsAre("hopper-medium-v2", "demo/hopper-medium", "own"));
  fs::create_symlink(own, folder_ / "link");
  EXPECT_THAT(Names({known, demo, (folder_ / "link").string()}),
              ElementsAre("hopper-medium-v2", "demo/hopper-medium", "own"));
}

TEST_F(SweepDatasetsTest, MinarisAreNamedByTheirFolders) {
  const std::string medium = File("datasets/mujoco/hopper/medium-v0/data/main_data.hdf5"),
                    expert = File("mine/expert-v0/data/main_data.hdf5");
  EXPECT_THAT(Names({medium, expert}), ElementsAre("mujoco/hopper/medium-v0", "expert-v0"));
}

TEST_F(SweepDatasetsTest, FilesOfOneNameAreToldByTheirFolders) {
  EXPECT_THAT(Names({File("1/x/a.hdf5"), File("2/x/a.hdf5"), File("b.hdf5")}),
              ElementsAre("1/x/a", "2/x/a", "b"));
}

TEST_F(SweepDatasetsTest, RefusesUnknownOnesAndFolders) {
  const std::string folder = folder_.string();
  EXPECT_EQ(Error({"nothing"}),
            "datasets: nothing: expected a file or the name of one of D4RL's, found neither");
  EXPECT_EQ(Error({folder}), "datasets: " + folder +
                                 ": expected a file or the name of one of D4RL's, found a folder");
  EXPECT_EQ(Error({"a\xff"}), "datasets: expected a path in UTF-8, found a\xef\xbf\xbd");
}

TEST_F(SweepDatasetsTest, RefusesAFileThatIsThereTwice) {
  const std::string path = File("hopper_medium-v2.hdf5");
  EXPECT_EQ(Error({"hopper-medium-v2", path}),
            "datasets: expected each one once, found hopper-medium-v2 and " + path +
                ", which are the same file");
}

}  // namespace
}  // namespace cosdt::experiments
