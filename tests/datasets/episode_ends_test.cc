#include "datasets/episode_ends.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "datasets/episodes.h"
#include "datasets/transitions.h"
#include "tests/datasets/test_file.h"

namespace cosdt::datasets {
namespace {

using ::testing::ElementsAre;

// Ten rows of hopper without any flag.
TestFile& Rows(TestFile& file) {
  file.Array("observations", {10, 11}).Array("actions", {10, 3}, std::vector<double>(30, 0.5));
  return file.Array("rewards", {10}, std::vector<double>(10, 1.0));
}

// Terminal in row 3, timeout in row 7, under the names given.
void ExpectTwoEpisodes(const std::string& path) {
  const Episodes episodes = ReadEpisodes(path);
  EXPECT_THAT(episodes.offsets, ElementsAre(0, 4, 8)) << path;
  EXPECT_THAT(episodes.endings, ElementsAre(Ending::kTerminal, Ending::kTimeout));
  const Transitions t = ReadTransitions(D4rlFile(path));
  EXPECT_THAT(t.terminals, ElementsAre(0, 0, 0, 1, 0, 0, 0, 0, 0, 0));
  EXPECT_THAT(t.timeouts, ElementsAre(0, 0, 0, 0, 0, 0, 0, 1, 0, 0));
}

TEST(EpisodeEndsTest, ReadsGymnasiumsNames) {
  TestFile plural, singular, mixed;
  Rows(plural).Flags("terminations", 10, {3}).Flags("truncations", 10, {7});
  ExpectTwoEpisodes(plural.Close());
  Rows(singular).Flags("terminated", 10, {3}).Flags("truncated", 10, {7});
  ExpectTwoEpisodes(singular.Close());
  Rows(mixed).Flags("terminals", 10, {3}).Flags("truncations", 10, {7});
  ExpectTwoEpisodes(mixed.Close());
}

TEST(EpisodeEndsTest, ReadsD3rlpysEpisodeTerminals) {
  TestFile alone, beside, column;
  Rows(alone).Flags("terminals", 10, {3}).Flags("episode_terminals", 10, {3, 7});
  ExpectTwoEpisodes(alone.Close());
  Rows(beside).Flags("terminals", 10, {3}).Flags("timeouts", 10, {7});
  beside.Flags("episode_terminals", 10, {3, 7});
  ExpectTwoEpisodes(beside.Close());
  Rows(column).Flags("terminals", 10, {3});
  column.Array("episode_terminals", {10, 1}, {0, 0, 0, 1, 0, 0, 0, 1, 0, 0});
  ExpectTwoEpisodes(column.Close());
}

TEST(EpisodeEndsTest, AHalfCheetahFileOfD3rlpyHasSixEpisodes) {
  TestFile file("halfcheetah.hdf5");
  std::vector<double> ends(3000);
  for (size_t row = 499; row < 3000; row += 500) ends[row] = 1;
  file.Array("observations", {3000, 17}, std::vector<double>(3000 * 17, 0.0));
  file.Array("actions", {3000, 6}, std::vector<double>(3000 * 6, 0.0));
  file.Array("rewards", {3000}, std::vector<double>(3000, 1.0)).Flags("terminals", 3000, {});
  file.Array("episode_terminals", {3000}, ends);
  const Episodes episodes = ReadEpisodes(file.Close());
  EXPECT_THAT(episodes.returns, ::testing::AllOf(::testing::SizeIs(6), ::testing::Each(500)));
  EXPECT_THAT(episodes.endings, ::testing::Each(Ending::kTimeout));
}

TEST(EpisodeEndsTest, NamesThatContradictEachOtherAreRefused) {
  TestFile names, missing, more, timeouts;
  Rows(names).Flags("terminals", 10, {3}).Flags("terminations", 10, {3, 5});
  COSDT_EXPECT_FILE_ERROR(ReadEpisodes(names.Close()),
                          "terminations: row 5: expected 0, as in terminals, found 1");
  Rows(missing).Flags("terminals", 10, {3}).Flags("episode_terminals", 10, {7});
  COSDT_EXPECT_FILE_ERROR(ReadEpisodes(missing.Close()),
                          "episode_terminals: row 3: expected 1, as in terminals, found 0");
  Rows(more).Flags("terminals", 10, {3}).Flags("timeouts", 10, {7});
  more.Flags("episode_terminals", 10, {3, 7, 9});
  COSDT_EXPECT_FILE_ERROR(
      ReadEpisodes(more.Close()),
      "episode_terminals: row 9: expected 0, as in terminals and timeouts, found 1");
  Rows(timeouts).Flags("terminals", 10, {3}).Flags("timeouts", 10, {7});
  timeouts.Flags("truncations", 10, {});
  COSDT_EXPECT_FILE_ERROR(ReadEpisodes(timeouts.Close()),
                          "truncations: row 7: expected 1, as in timeouts, found 0");
}

TEST(EpisodeEndsTest, WhatDonesMarkIsNotGuessed) {
  TestFile terminal, either, alone, more, done;
  Rows(terminal).Flags("terminals", 10, {3}).Flags("timeouts", 10, {7}).Flags("dones", 10, {3});
  ExpectTwoEpisodes(terminal.Close());
  Rows(either).Flags("terminals", 10, {3}).Flags("timeouts", 10, {7}).Flags("dones", 10, {3, 7});
  ExpectTwoEpisodes(either.Close());
  Rows(alone).Flags("dones", 10, {3, 7}).Flags("truncations", 10, {7});
  COSDT_EXPECT_FILE_ERROR(
      ReadEpisodes(alone.Close()),
      "dones: expected terminals besides it, for some projects mark terminals with it and others "
      "every end of an episode, found none");
  Rows(more).Flags("terminals", 10, {3}).Flags("dones", 10, {3, 7});
  COSDT_EXPECT_FILE_ERROR(ReadEpisodes(more.Close()),
                          "dones: row 7: expected 0, as in terminals, found 1");
  Rows(done).Flags("terminals", 10, {3}).Flags("timeouts", 10, {7}).Flags("done", 10, {});
  COSDT_EXPECT_FILE_ERROR(ReadEpisodes(done.Close()),
                          "done: row 3: expected 1, as in terminals and timeouts, found 0");
}

TEST(EpisodeEndsTest, FilesWithoutTerminalsAreRefused) {
  TestFile none, timeouts;
  COSDT_EXPECT_FILE_ERROR(ReadEpisodes(Rows(none).Close()),
                          "terminals: expected a dataset, found none");
  Rows(timeouts).Flags("timeouts", 10, {7});
  COSDT_EXPECT_FILE_ERROR(ReadEpisodes(timeouts.Close()),
                          "terminals: expected a dataset, found none");
}

TEST(EpisodeEndsTest, FlagsAreZeroOrOne) {
  const auto refused = [](double value, const std::string& key, const std::string& text) {
    TestFile file;
    Rows(file);
    for (const char* const name : {"terminals", "timeouts"}) {
      std::vector<double> values(10);
      values[9] = 1;
      if (name == key) values[6] = value;
      file.Array(name, {10}, values);
    }
    const std::string path = file.Close();
    COSDT_EXPECT_FILE_ERROR(ReadEpisodes(path),
                            path + ": " + key + ": row 6: expected 0 or 1, found " + text);
    try {
      ReadTransitions(D4rlFile(path));
      ADD_FAILURE();
    } catch (const FlagError& error) {
      EXPECT_EQ(error.row(), 6u);
      EXPECT_EQ(error.array(), key);
    }
  };
  refused(NAN, "timeouts", "nan");
  refused(NAN, "terminals", "nan");
  refused(INFINITY, "terminals", "inf");
  refused(-1, "terminals", "-1");
  refused(2, "timeouts", "2");
  refused(0.5, "timeouts", "0.5");
}

// Two episodes of four steps; flags by row of the first.
std::string Minari(TestFile& file, const std::vector<double>& terminations,
                   const std::vector<double>& truncations) {
  for (const std::string group : {"episode_0/", "episode_1/"}) {
    file.Array(group + "observations", {5, 11}).Array(group + "actions", {4, 3});
    file.Array(group + "rewards", {4});
    const bool first = group == "episode_0/";
    file.Array(group + "terminations", {4}, first ? terminations : std::vector<double>{0, 0, 0, 1});
    file.Array(group + "truncations", {4}, first ? truncations : std::vector<double>{0, 0, 0, 0});
  }
  return file.Close();
}

TEST(EpisodeEndsTest, AMinariEpisodeEndsWithItsLastStepAlone) {
  TestFile good, early, nan, truncated;
  EXPECT_THAT(ReadEpisodes(Minari(good, {0, 0, 0, 1}, {0, 0, 0, 1})).endings,
              ElementsAre(Ending::kTerminal, Ending::kTerminal));
  COSDT_EXPECT_FILE_ERROR(
      ReadEpisodes(Minari(early, {0, 1, 0, 1}, {0, 0, 0, 0})),
      "episode_0/terminations: row 1: expected 0 before the last of 4 steps, found 1");
  COSDT_EXPECT_FILE_ERROR(
      ReadEpisodes(Minari(truncated, {0, 0, 0, 0}, {1, 0, 0, 1})),
      "episode_0/truncations: row 0: expected 0 before the last of 4 steps, found 1");
  COSDT_EXPECT_FILE_ERROR(ReadEpisodes(Minari(nan, {0, 0, 0, 1}, {0, 0, NAN, 0})),
                          "episode_0/truncations: row 2: expected 0 or 1, found nan");
}

TEST(EpisodeEndsTest, AMinariFilesTransitionsAreItsEpisodesInTurn) {
  TestFile file;
  const Transitions t = ReadTransitions(MinariFile(Minari(file, {0, 0, 0, 0}, {0, 0, 0, 1})));
  EXPECT_THAT(t.terminals, ElementsAre(0, 0, 0, 0, 0, 0, 0, 1));
  EXPECT_THAT(t.timeouts, ElementsAre(0, 0, 0, 1, 0, 0, 0, 0));
  EXPECT_EQ(t.rows(), 8u);
  for (size_t step = 0; step < 4; ++step) {
    for (const size_t row : {step, step + 4}) {
      EXPECT_EQ(t.observations[row * 11 + 2], 11 * step + 2);
      EXPECT_EQ(t.next_observations[row * 11 + 2], 11 * (step + 1) + 2);
      EXPECT_EQ(t.actions[row * 3], 3 * step);
      EXPECT_EQ(t.rewards[row], step);
    }
  }
}

}  // namespace
}  // namespace cosdt::datasets
