#include "datasets/hdf5_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <numeric>
#include <random>

#include "datasets/concat.h"
#include "datasets/d4rl_file.h"
#include "datasets/episodes.h"
#include "datasets/transitions.h"
#include "tests/datasets/test_file.h"
#include "tests/shared_files.h"

namespace cosdt::datasets {
namespace {

using ::testing::ElementsAre;

// Random numbers, which gzip cannot shrink.
Transitions Noise(size_t rows, uint64_t seed = 0) {
  std::mt19937_64 rng(seed);
  std::uniform_real_distribution<float> uniform(-1, 1);
  Transitions t;
  t.observation_size = 11;
  t.action_size = 3;
  t.nq = t.nv = 6;
  const auto fill = [&](auto& array, size_t width) {
    array.resize(rows * width);
    for (auto& x : array) x = uniform(rng);
  };
  fill(t.observations, 11);
  fill(t.actions, 3);
  fill(t.rewards, 1);
  fill(t.next_observations, 11);
  fill(t.log_probs, 1);
  fill(t.qpos, 6);
  fill(t.qvel, 6);
  t.terminals.resize(rows);
  t.timeouts.resize(rows);
  t.terminals[rows / 2] = 1;
  return t;
}

void Write(const Transitions& t, const std::string& path) {
  Hdf5Writer writer(path);
  WriteTransitions(t, writer);
  writer.Text("metadata/algorithm", "SAC");
  writer.Integer("metadata/iteration", -7);
  writer.Commit();
}

std::string Bytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

size_t FilesIn(const std::string& folder) {
  return static_cast<size_t>(std::distance(std::filesystem::directory_iterator(folder), {}));
}

class Hdf5WriterTest : public ::testing::Test {
 protected:
  // a folder of its own; the file that comes with it is not used
  Hdf5WriterTest() : folder_(file_.folder()), path_(folder_ + "/out.hdf5") {
    std::filesystem::remove(file_.Close());
  }

  TestFile file_;
  std::string folder_, path_;
};

TEST_F(Hdf5WriterTest, IsReadBackExactly) {
  const Transitions t = Noise(3000);
  Write(t, path_);
  EXPECT_EQ(FilesIn(folder_), 1u);
  const D4rlFile file(path_, 2);
  const Transitions back = ReadTransitions(file);
  EXPECT_EQ(back.observations, t.observations);
  EXPECT_EQ(back.actions, t.actions);
  EXPECT_EQ(back.rewards, t.rewards);
  EXPECT_EQ(back.next_observations, t.next_observations);
  EXPECT_EQ(back.log_probs, t.log_probs);
  EXPECT_EQ(back.qpos, t.qpos);
  EXPECT_EQ(back.qvel, t.qvel);
  EXPECT_EQ(back.terminals, t.terminals);
  EXPECT_EQ(back.timeouts, t.timeouts);
  EXPECT_EQ(file.hdf5().ReadString("metadata/algorithm"), "SAC");
  EXPECT_EQ(file.hdf5().ReadInteger("metadata/iteration"), -7);
}

TEST_F(Hdf5WriterTest, HasD4rlsTypes) {
  Write(Noise(30), path_);
  const Hdf5File file(path_);
  EXPECT_THAT(file.Datasets(),
              ElementsAre("actions", "infos/action_log_probs", "infos/qpos", "infos/qvel",
                          "metadata/algorithm", "metadata/iteration", "next_observations",
                          "observations", "rewards", "terminals", "timeouts"));
  EXPECT_EQ(file.Info("terminals").type, NumberType::kBool);
  EXPECT_EQ(file.Info("observations").bytes, 4u);
  EXPECT_EQ(file.Info("infos/qpos").bytes, 8u);
  EXPECT_THAT(file.Info("rewards").shape, ElementsAre(30));
}

TEST_F(Hdf5WriterTest, WritesTheSameBytesAgain) {
  Write(Noise(3000), path_);
  const std::string first = Bytes(path_);
  Write(Noise(3000), path_);
  EXPECT_EQ(first, Bytes(path_));
}

TEST_F(Hdf5WriterTest, ChoosesH5pysChunks) {
  EXPECT_THAT(GuessChunk({20000, 11}, 4), ElementsAre(2500, 2));
  EXPECT_THAT(GuessChunk({20000, 6}, 8), ElementsAre(2500, 1));
  EXPECT_THAT(GuessChunk({20000}, 4), ElementsAre(2500));
  EXPECT_THAT(GuessChunk({20000}, 1), ElementsAre(10000));
  EXPECT_THAT(GuessChunk({256, 256}, 4), ElementsAre(32, 64));
  EXPECT_THAT(GuessChunk({256, 11}, 4), ElementsAre(256, 11));
  EXPECT_THAT(GuessChunk({1000000, 11}, 4), ElementsAre(15625, 1));
}

TEST_F(Hdf5WriterTest, LeavesNothingWithoutCommit) {
  {
    Hdf5Writer writer(path_);
  }
  EXPECT_EQ(FilesIn(folder_), 0u);
}

TEST_F(Hdf5WriterTest, NamesAFolderThatIsNotThere) {
  EXPECT_THAT(
      [&] { Hdf5Writer(folder_ + "/missing/out.hdf5"); },
      ::testing::Throws<std::runtime_error>(::testing::Property(
          &std::runtime_error::what, ::testing::HasSubstr("missing/out.hdf5: cannot be written"))));
}

// A kill at any moment leaves the old file, whole, under its name.
TEST_F(Hdf5WriterTest, LeavesTheOldFileWhenKilled) {
  Write(Noise(200, 1), path_);
  const std::string old = Bytes(path_);
  const Transitions next = Noise(20000, 2);
  const std::string whole_path = folder_ + "/whole.hdf5";
  Write(next, whole_path);
  const std::string whole = Bytes(whole_path);
  int killed = 0;
  for (int microseconds = 0; microseconds < 200000; microseconds += 11000) {
    const pid_t child = fork();
    if (child == 0) {
      Write(next, path_);
      _exit(0);
    }
    usleep(microseconds);
    kill(child, SIGKILL);
    int status = 0;
    waitpid(child, &status, 0);
    killed += WIFSIGNALED(status);
    const std::string now = Bytes(path_);
    ASSERT_TRUE(now == old || now == whole) << "after " << microseconds << " us";
    if (WIFEXITED(status)) {
      ASSERT_EQ(now, whole);
    }
  }
  EXPECT_GT(killed, 0);
}

// RLIMIT_FSIZE stands for a disk that fills up: write fails with EFBIG as it would with ENOSPC.
TEST_F(Hdf5WriterTest, LeavesTheOldFileOnAFullDisk) {
  Write(Noise(200, 1), path_);
  const std::string old = Bytes(path_);
  for (const rlim_t room : {1000, 100000, 700000}) {
    const pid_t child = fork();
    if (child == 0) {
      signal(SIGXFSZ, SIG_IGN);
      const rlimit limit{room, room};
      setrlimit(RLIMIT_FSIZE, &limit);
      try {
        Write(Noise(20000), path_);
      } catch (const std::runtime_error& error) {
        _exit(std::string(error.what()).starts_with(path_ + ": ") ? 7 : 8);
      }
      _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    ASSERT_TRUE(WIFEXITED(status)) << "signal " << WTERMSIG(status);
    EXPECT_EQ(WEXITSTATUS(status), 7);
    EXPECT_EQ(Bytes(path_), old);
    EXPECT_EQ(FilesIn(folder_), 1u);
  }
}

TEST_F(Hdf5WriterTest, ConcatenatesCompleteEpisodes) {
  TestFile v0, v2;
  v0.Hopper(1500, {9});  // rows 10 .. 1009 make the horizon; the rest is partial
  v2.Hopper(50, {39}).Flags("timeouts", 50, {19});
  ConcatFiles({v0.Close(), v2.Close()}, path_, 2);
  const Episodes episodes = ReadEpisodes(path_, {.keep_partial = true});
  EXPECT_THAT(episodes.offsets, ElementsAre(0, 10, 1010, 1030, 1050));
  EXPECT_THAT(episodes.endings, ElementsAre(Ending::kTerminal, Ending::kTimeout, Ending::kTimeout,
                                            Ending::kTerminal));
  EXPECT_EQ(episodes.observations[1009 * 11 + 10], 1009 * 11 + 10);
  EXPECT_EQ(episodes.observations[1010 * 11], 0);
  EXPECT_EQ(episodes.observations[1049 * 11], 39 * 11);
  EXPECT_FALSE(Hdf5File(path_).Has("next_observations"));
}

TEST_F(Hdf5WriterTest, ConcatNamesFilesThatDoNotFit) {
  TestFile hopper, other;
  hopper.Hopper(5, {4});
  other.Array("observations", {5, 17}).Array("actions", {5, 6}).Array("rewards", {5});
  other.Flags("terminals", 5, {4});
  COSDT_EXPECT_FILE_ERROR(ConcatFiles({hopper.Close(), other.Close()}, path_, 1),
                          "observations: expected 11 columns as in");
  EXPECT_EQ(FilesIn(folder_), 0u);
}

TEST_F(Hdf5WriterTest, MakesTheMediumExpertSampleFromItsParts) {
  COSDT_NEEDS_SHARED("d4rl_samples/hopper_medium_expert-sample.hdf5");
  // its first part is the medium sample without the trailing episode
  ConcatFiles({SharedFile("d4rl_samples/hopper_medium-sample.hdf5")}, path_, 1);
  const Transitions part = ReadTransitions(D4rlFile(path_));
  const Transitions whole =
      ReadTransitions(D4rlFile(SharedFile("d4rl_samples/hopper_medium_expert-sample.hdf5")));
  ASSERT_EQ(part.rows(), 19829u);
  EXPECT_TRUE(std::ranges::equal(part.observations,
                                 std::span(whole.observations).first(part.observations.size())));
  EXPECT_TRUE(std::ranges::equal(part.qpos, std::span(whole.qpos).first(part.qpos.size())));
  EXPECT_TRUE(
      std::ranges::equal(part.timeouts, std::span(whole.timeouts).first(part.timeouts.size())));
}

}  // namespace
}  // namespace cosdt::datasets
