#include "datasets/check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "datasets/episodes.h"
#include "tests/shared_files.h"

namespace cosdt::datasets {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::vector<std::string> Codes(const std::vector<Finding>& findings) {
  std::vector<std::string> codes;
  for (const Finding& f : findings) codes.push_back(f.code);
  return codes;
}

// A file of hopper that is fit: positions move as the velocities say, rewards are those velocities.
// Three episodes of 200 steps, the second one ends in a timeout.
Transitions Fit() {
  constexpr size_t kRows = 600;
  Transitions t;
  t.observation_size = 11;
  t.action_size = 3;
  const auto velocity = [](size_t episode, size_t step, size_t j) {
    return std::sin(0.1 * static_cast<double>(step) + static_cast<double>(j + 3 * episode));
  };
  for (size_t row = 0; row < kRows; ++row) {
    const size_t episode = row / 200, step = row % 200;
    // the start of an episode is far from the end of the one before
    const auto observe = [&](FloatVector& to, size_t at) {
      for (size_t j = 0; j < 5; ++j) {
        double q = episode % 2 == 0 ? 3 : -3;
        for (size_t s = 0; s < at; ++s) {
          q += 0.004 * (velocity(episode, s, j + 1) + velocity(episode, s + 1, j + 1));
        }
        to.push_back(static_cast<float>(q));
      }
      for (size_t j = 0; j < 6; ++j) to.push_back(static_cast<float>(velocity(episode, at, j)));
    };
    observe(t.observations, step);
    observe(t.next_observations, step + 1);
    for (size_t j = 0; j < 3; ++j) t.actions.push_back(0.5f);
    t.rewards.push_back(static_cast<float>(
        1 - 0.75e-3 + (velocity(episode, step, 0) + velocity(episode, step + 1, 0)) / 2));
    t.terminals.push_back(step == 199 && episode != 1);
    t.timeouts.push_back(step == 199 && episode == 1);
  }
  return t;
}

CheckReport Check(const Transitions& t, const std::string& path = "file.hdf5",
                  size_t horizon = 200) {
  return CheckTransitions(path, t, CutEpisodes(t.terminals, t.timeouts, horizon),
                          {.body = FindBody("hopper"), .horizon = horizon});
}

TEST(CheckTest, FindsNothingInAFitFile) {
  const CheckReport report = Check(Fit());
  EXPECT_THAT(Codes(report.findings), IsEmpty());
  EXPECT_THAT(Codes(report.notes), IsEmpty());
  Transitions without = Fit();
  without.next_observations.clear();
  EXPECT_THAT(Codes(Check(without).findings), IsEmpty());
}

TEST(CheckTest, PlacesNumbersThatAreNotFinite) {
  Transitions t = Fit();
  t.rewards[7] = NAN;
  t.rewards[9] = INFINITY;
  t.qpos.assign(600 * 6, 0);
  t.nq = 6;
  t.qpos[6 * 3] = NAN;
  const CheckReport report = Check(t);
  ASSERT_THAT(Codes(report.findings), ElementsAre("not_finite", "not_finite"));
  EXPECT_EQ(report.findings[0].key, "rewards");
  EXPECT_EQ(report.findings[0].row, 7u);
  EXPECT_EQ(report.findings[0].detail, "NaN or infinity in 2 rows");
  EXPECT_EQ(report.findings[1].key, "infos/qpos");
  EXPECT_EQ(report.findings[1].row, 3u);
}

TEST(CheckTest, PlacesActionsOutOfRange) {
  Transitions t = Fit();
  t.actions[3 * 11 + 2] = -1.0001f;
  const CheckReport report = Check(t);
  ASSERT_THAT(Codes(report.findings), ElementsAre("action_range"));
  EXPECT_EQ(report.findings[0].row, 11u);
}

TEST(CheckTest, PlacesALostBoundary) {
  Transitions t = Fit();
  t.terminals[199] = 0;  // the first two episodes run together
  for (const bool with_next : {true, false}) {
    if (!with_next) t.next_observations.clear();
    const CheckReport report = Check(t);
    ASSERT_THAT(Codes(report.findings), ElementsAre("long_episode", "jump")) << with_next;
    EXPECT_EQ(report.findings[0].row, 0u);
    EXPECT_EQ(report.findings[1].row, 200u);
  }
}

TEST(CheckTest, NotesShortTimeoutsPartialEpisodesAndMissingTimeouts) {
  Transitions t = Fit();
  t.timeouts[99] = 1;
  t.terminals[599] = 0;
  EXPECT_THAT(Codes(Check(t).notes), ElementsAre("partial_episode", "short_timeout"));
  EXPECT_THAT(Codes(Check(t).findings), IsEmpty());
  Transitions v0 = Fit();
  v0.timeouts.clear();
  EXPECT_THAT(Codes(Check(v0).notes), ElementsAre("no_timeouts"));
}

TEST(CheckTest, FindsFilesWithoutAnyEpisode) {
  Transitions t = Fit();
  t.terminals.assign(600, 0);
  t.timeouts.assign(600, 0);
  EXPECT_THAT(Codes(Check(t, "file.hdf5", 1000).findings), Contains("no_episode"));
}

TEST(CheckTest, FindsAnEpisodeTwice) {
  Transitions t = Fit();
  std::copy_n(t.observations.begin(), 200 * 11, t.observations.begin() + 400 * 11);
  std::copy_n(t.next_observations.begin(), 200 * 11, t.next_observations.begin() + 400 * 11);
  std::copy_n(t.rewards.begin(), 200, t.rewards.begin() + 400);
  const CheckReport report = Check(t);
  ASSERT_THAT(Codes(report.findings), ElementsAre("duplicate"));
  EXPECT_EQ(report.findings[0].row, 400u);
  EXPECT_THAT(report.findings[0].detail, ::testing::HasSubstr("row 0"));

  // a task with a simulator begins each episode in another state; one without may repeat itself
  t.task = "hopper-delayed";
  t.nq = 6;
  t.qpos.assign(600 * 6, 0);
  EXPECT_THAT(Codes(Check(t).findings), ElementsAre("duplicate"));
  t.qpos.clear();
  EXPECT_TRUE(Check(t).findings.empty());
}

TEST(CheckTest, FindsShiftedNextObservations) {
  Transitions t = Fit();
  t.next_observations = t.observations;
  CheckReport report = Check(t);
  ASSERT_THAT(Codes(report.findings), Contains("shifted"));
  EXPECT_EQ(report.findings[0].key, "next_observations");
  EXPECT_THAT(report.findings[0].detail, ::testing::HasSubstr("own observation"));

  t = Fit();
  std::rotate(t.next_observations.begin(), t.next_observations.begin() + 11,
              t.next_observations.end());
  report = Check(t);
  ASSERT_THAT(Codes(report.findings), Contains("shifted"));
  EXPECT_THAT(report.findings[0].detail, ::testing::HasSubstr("two rows later"));
}

TEST(CheckTest, FindsShiftedRewards) {
  Transitions t = Fit();
  std::rotate(t.rewards.begin(), t.rewards.end() - 1, t.rewards.end());
  CheckReport report = Check(t);
  ASSERT_THAT(Codes(report.findings), ElementsAre("shifted"));
  EXPECT_EQ(report.findings[0].detail, "rewards of the row before");
  t = Fit();
  std::rotate(t.rewards.begin(), t.rewards.begin() + 1, t.rewards.end());
  report = Check(t);
  ASSERT_THAT(Codes(report.findings), ElementsAre("shifted"));
  EXPECT_EQ(report.findings[0].detail, "rewards of the next row");
}

TEST(CheckTest, FindsRewardsThatAreNotThoseOfTheMotion) {
  Transitions one = Fit();
  one.rewards[77] += 3;
  const CheckReport report = Check(one);
  ASSERT_THAT(Codes(report.findings), ElementsAre("reward"));
  EXPECT_EQ(report.findings[0].row, 77u);
  Transitions scaled = Fit();
  for (float& r : scaled.rewards) r *= 5;
  EXPECT_THAT(Codes(Check(scaled).findings), ElementsAre("reward"));
}

TEST(CheckTest, ComparesTheReturnsOfAKnownName) {
  EXPECT_THAT(Codes(Check(Fit(), "/data/hopper_medium-v2.hdf5").findings), ElementsAre("returns"));
  EXPECT_THAT(Codes(Check(Fit(), "hopper-medium-v2.hdf5").findings), ElementsAre("returns"));
  EXPECT_THAT(Codes(Check(Fit(), "hopper_medium-v2-mine.hdf5").findings), IsEmpty());
}

TEST(CheckTest, LeavesOutWhatNeedsTheBody) {
  Transitions t = Fit();
  for (float& r : t.rewards) r *= 5;
  const Cuts cuts = CutEpisodes(t.terminals, t.timeouts, 200);
  EXPECT_THAT(Codes(CheckTransitions("file.hdf5", t, cuts, {.horizon = 200}).findings), IsEmpty());
  t.actions[0] = 2;
  EXPECT_THAT(Codes(CheckTransitions("file.hdf5", t, cuts, {.horizon = 200}).findings),
              ElementsAre("action_range"));
  EXPECT_THAT(
      Codes(
          CheckTransitions("file.hdf5", t, cuts, {.horizon = 200, .unit_actions = false}).findings),
      IsEmpty());
}

TEST(CheckTest, FindsEpisodesThatGoOnAfterATerminal) {
  Transitions t = Fit();
  t.terminals[49] = t.terminals[149] = 1;  // in the midst of the first
  CheckReport report = Check(t);
  ASSERT_THAT(Codes(report.findings), ElementsAre("goes_on"));
  EXPECT_EQ(report.findings[0].key, "terminals");
  EXPECT_EQ(report.findings[0].row, 49u);
  EXPECT_EQ(report.findings[0].detail,
            "the next row continues the episode after its terminal, in 2 rows");
  // without next observations motion tells, if most terminals are such
  t.next_observations.clear();
  report = Check(t);
  ASSERT_THAT(Codes(report.findings), ElementsAre("goes_on"));
  EXPECT_EQ(report.findings[0].row, 49u);
  t.terminals[149] = 0;
  EXPECT_THAT(Codes(Check(t).findings), IsEmpty());
  // a body at rest, close to where the last one fell, begins an episode
  t.terminals[149] = 1;
  for (const size_t next : {50, 150}) {
    for (size_t i = 5; i < 11; ++i) t.observations[next * 11 + i] = 0.004f;
  }
  EXPECT_THAT(Codes(Check(t).findings), ::testing::Not(::testing::Contains("goes_on")));
}

TEST(CheckTest, FindsEpisodesThatEndAtEveryRow) {
  Transitions t = Fit();
  t.timeouts.assign(600, 1);
  const CheckReport report = Check(t);
  ASSERT_THAT(Codes(report.findings), ElementsAre("every_row"));
  EXPECT_EQ(report.findings[0].detail,
            "each of the 600 rows ends an episode by its terminal or timeout");
}

TEST(CheckTest, SeveralUnfinishedEpisodesAreOneNote) {
  const Transitions t = Fit();
  const Cuts cuts{{0, 200, 400, 600}, {Ending::kPartial, Ending::kTimeout, Ending::kPartial}};
  const CheckReport report =
      CheckTransitions("file.hdf5", t, cuts, {.body = FindBody("hopper"), .horizon = 200});
  ASSERT_THAT(Codes(report.notes), ElementsAre("partial_episode"));
  EXPECT_EQ(report.notes[0].row, 0u);
  EXPECT_EQ(report.notes[0].detail, "400 rows are of unfinished episodes, which readers drop");
}

TEST(SampleFilesCheckTest, FindsNothing) {
  for (const char* name : {"hopper_medium", "hopper_medium_expert", "halfcheetah_medium",
                           "halfcheetah_medium_expert"}) {
    const std::string path = "d4rl_samples/" + std::string(name) + "-sample.hdf5";
    COSDT_NEEDS_SHARED(path);
    Transitions t = ReadTransitions(D4rlFile(SharedFile(path)));
    const Body* const body = GuessBody(name, t.observation_size, t.action_size, t.observations[0]);
    ASSERT_NE(body, nullptr);
    const auto check = [&] {
      const Cuts cuts = CutEpisodes(t.terminals, t.timeouts, 1000);
      return Codes(CheckTransitions(name, t, cuts, {.body = body}).findings);
    };
    EXPECT_THAT(check(), IsEmpty()) << name;
    t.next_observations.clear();
    EXPECT_THAT(check(), IsEmpty()) << name;
    if (std::string(body->name) != "hopper") continue;
    t.terminals.assign(t.rows(), 0);
    EXPECT_THAT(check(), Contains("jump")) << name;
  }
}

}  // namespace
}  // namespace cosdt::datasets
