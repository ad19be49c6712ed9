#include "datasets/known_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>

#include "datasets/data_folder.h"
#include "datasets/file_error.h"
#include "datasets/sha256.h"
#include "datasets/summary.h"
#include "tests/datasets/test_file.h"

namespace cosdt::datasets {
namespace {

TEST(KnownFilesTest, HasEachFileOnce) {
  std::set<std::string> names, hashes;
  for (const KnownFile& file : KnownFiles()) {
    EXPECT_TRUE(names.insert(file.name).second);
    EXPECT_TRUE(!*file.sha256 || hashes.insert(file.sha256).second);
    EXPECT_TRUE(!*file.sha256 || std::string(file.sha256).size() == 64);
    EXPECT_TRUE(!file.returns || file.returns->min < file.returns->mean);
    EXPECT_TRUE(!file.returns || file.returns->mean < file.returns->max);
  }
  EXPECT_EQ(names.size(), 18u);
  EXPECT_EQ(hashes.size(), 13u);
}

TEST(KnownFilesTest, AreFoundByEitherSpellingAndByHash) {
  ASSERT_NE(FindKnownFile("hopper-medium-replay-v2"), nullptr);
  EXPECT_EQ(FindKnownFile("hopper-medium-replay-v2"), FindKnownFile("hopper_medium_replay-v2"));
  EXPECT_EQ(FindKnownFile("hopper-medium-v1"), nullptr);
  EXPECT_EQ(FindKnownFile("hopper-medium"), nullptr);
  EXPECT_EQ(
      FindKnownHash("5bdf1bc4a713c82941de44633df669b36c89850b652a25985166796d25cf71a0")->episodes,
      2187);
  EXPECT_EQ(FindKnownHash(""), nullptr);
}

TEST(KnownFilesTest, NamesTellKindAndVersion) {
  EXPECT_EQ(ParseFileName("/a/hopper_medium_expert-v2.hdf5").kind, "medium-expert");
  EXPECT_EQ(ParseFileName("walker2d_full_replay-v1.hdf5").kind, "full-replay");
  EXPECT_EQ(ParseFileName("hopper_medium-v0.hdf5").kind, "medium");
  EXPECT_EQ(ParseFileName("hopper_medium-v0.hdf5").version, "v0");
  EXPECT_EQ(ParseFileName("mine.hdf5").kind, "");
  EXPECT_EQ(ParseFileName("mine.hdf5").version, "");
}

TEST(SummaryTest, CountsCompleteAndPartialEpisodes) {
  TestFile file("hopper_medium-v0.hdf5");
  file.Hopper(10, {1, 6});
  const std::string path = file.Close();
  const Summary summary = Summarize(path, ReadEpisodes(path, {.keep_partial = true}), nullptr);
  EXPECT_EQ(summary.kind, "medium");
  EXPECT_EQ(summary.version, "v0");
  EXPECT_EQ(summary.transitions, 10u);
  EXPECT_EQ(summary.episodes, 2u);
  EXPECT_EQ(summary.partial_episodes, 1u);
  EXPECT_EQ(summary.lengths.mean, 3.5);
  EXPECT_EQ(summary.lengths.min, 2u);
  EXPECT_EQ(summary.lengths.max, 5u);
  EXPECT_EQ(summary.returns.mean, 3.5);
  EXPECT_EQ(summary.returns.std, 1.5);
}

TEST(SummaryTest, TellsTheVersionFromTheLayout) {
  const auto version = [](TestFile& file) {
    const std::string path = file.Close();
    return Summarize(path, ReadEpisodes(path), nullptr).version;
  };
  TestFile v0, v1, v2;
  v0.Hopper(2, {1});
  EXPECT_EQ(version(v0), "v0");
  v1.Hopper(2, {1}).Array("infos/qpos", {2, 6});
  EXPECT_EQ(version(v1), "v1");
  v2.Hopper(2, {1}).Array("infos/qpos", {2, 6}, {}, {.type = H5T_IEEE_F64LE});
  EXPECT_EQ(version(v2), "v2");
  const std::string minari = COSDT_SOURCE_DIR "/tests/datasets/vintages/minari.hdf5";
  EXPECT_EQ(Summarize(minari, ReadEpisodes(minari), nullptr).version, "minari");
}

TEST(Sha256Test, MatchesTheStandardsExample) {
  Sha256 sha;
  sha.Add(std::string("a"));
  sha.Add(std::string("bc"));
  EXPECT_EQ(sha.Finish(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(DataFolderTest, FollowsTheFlagThenTheEnvironment) {
  setenv("HOME", "/home/u", 1);
  unsetenv("COSDT_DATA");
  unsetenv("XDG_CACHE_HOME");
  EXPECT_EQ(DataFolder(""), "/home/u/.cache/cosdt");
  setenv("XDG_CACHE_HOME", "/cache", 1);
  EXPECT_EQ(DataFolder(""), "/cache/cosdt");
  setenv("COSDT_DATA", "/data", 1);
  EXPECT_EQ(DataFolder(""), "/data");
  EXPECT_EQ(DataFolder("/flag"), "/flag");
}

TEST(DataFolderTest, FindsPathsAndD4rlsNames) {
  TestFile file("hopper_medium_replay-v2.hdf5");
  const std::string path = file.Close();
  EXPECT_EQ(FindDataset(path, ""), path);
  EXPECT_EQ(FindDataset("hopper-medium-replay-v2", file.folder()), path);
  COSDT_EXPECT_FILE_ERROR(FindDataset("hopper-medium-v2", file.folder()),
                          "hopper_medium-v2.hdf5: expected what `cosdt data fetch");
  const std::string minari = file.folder() + "/mujoco/hopper/medium-v0/data";
  std::filesystem::create_directories(minari);
  COSDT_EXPECT_FILE_ERROR(FindDataset("mujoco/hopper/medium-v0", file.folder()), "expected a file");
  std::ofstream(minari + "/main_data.hdf5") << "data";
  EXPECT_EQ(FindDataset("mujoco/hopper/medium-v0", file.folder()), minari + "/main_data.hdf5");
  std::filesystem::remove_all(file.folder() + "/mujoco");
  COSDT_EXPECT_FILE_ERROR(FindDataset("nothing", file.folder()), "nothing: expected a file or");
}

TEST(DataFolderTest, AFolderNeverStandsForAFile) {
  namespace fs = std::filesystem;
  TestFile file("hopper_medium_replay-v2.hdf5");
  const std::string path = file.Close();
  const fs::path before = fs::current_path(), here = file.folder() + "/here";
  fs::create_directories(here / "hopper-medium-replay-v2");
  fs::create_directories(here / "minari/data");
  fs::create_directories(file.folder() + "/hopper_medium-v2.hdf5");
  std::ofstream(here / "minari/data/main_data.hdf5") << "";
  fs::current_path(here);
  EXPECT_EQ(FindDataset("hopper-medium-replay-v2", file.folder()), path);
  COSDT_EXPECT_FILE_ERROR(
      FindDataset(file.folder(), ""),
      file.folder() + ": expected a file or the name of one of D4RL's, found a folder");
  COSDT_EXPECT_FILE_ERROR(FindDataset("minari", ""),
                          "minari: expected a file or the name of one of D4RL's, found a folder; "
                          "its file is minari/data/main_data.hdf5");
  COSDT_EXPECT_FILE_ERROR(FindDataset("hopper-medium-v2", file.folder()),
                          "`cosdt data fetch hopper-medium-v2` downloads, found a folder");
  fs::current_path(before);
}

}  // namespace
}  // namespace cosdt::datasets
