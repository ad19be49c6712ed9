#include "datasets/episodes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "datasets/concat.h"
#include "datasets/file_error.h"
#include "datasets/normalizer.h"
#include "datasets/transitions.h"
#include "tests/datasets/small_file.h"
#include "tests/datasets/test_file.h"
#include "tests/shared_files.h"

namespace cosdt::datasets {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;

// Written by make_vintages.py, whose formulas these are.
std::string Vintage(const std::string& name) {
  return COSDT_SOURCE_DIR "/tests/datasets/vintages/" + name;
}

void ExpectFormulas(const Episodes& episodes, double reward_scale = 1) {
  ASSERT_EQ(episodes.observation_size, 11);
  ASSERT_EQ(episodes.action_size, 3);
  for (size_t i = 0; i < episodes.rows(); ++i) {
    for (size_t j = 0; j < 11; ++j) {
      ASSERT_EQ(episodes.observations[i * 11 + j], (i * 7 + j * 3) % 64 / 8.0) << i << " " << j;
    }
    for (size_t j = 0; j < 3; ++j) {
      ASSERT_EQ(episodes.actions[i * 3 + j], (i * 5 + j * 11) % 32 / 16.0 - 1);
    }
    ASSERT_EQ(episodes.rewards[i], reward_scale * (i * 3 % 16 / 4.0));
  }
}

TEST(EpisodesTest, ReadsVersion0WithoutTimeoutsAndWithRewardColumns) {
  const Episodes episodes = ReadEpisodes(Vintage("hopper_medium-v0.hdf5"));
  EXPECT_EQ(episodes.env, "hopper");
  // rows 99 and 2150 are terminal; between them the horizon cuts; the rest is partial
  EXPECT_THAT(episodes.offsets, ElementsAre(0, 100, 1100, 2100, 2151));
  EXPECT_THAT(episodes.endings, ElementsAre(Ending::kTerminal, Ending::kTimeout, Ending::kTimeout,
                                            Ending::kTerminal));
  ExpectFormulas(episodes);
}

TEST(EpisodesTest, ReadsVersion1ReplayFilesOfFloat64WithFlagsAsFloats) {
  const Episodes episodes =
      ReadEpisodes(Vintage("hopper_medium_replay-v1.hdf5"), {.next_observations = true});
  EXPECT_THAT(episodes.offsets, ElementsAre(0, 50, 121, 250));
  EXPECT_THAT(episodes.endings, ElementsAre(Ending::kTerminal, Ending::kTimeout, Ending::kTimeout));
  ExpectFormulas(episodes);
  // as stored, also at an episode's end
  for (size_t i = 0; i < episodes.rows(); ++i) {
    ASSERT_EQ(episodes.next_observations[i * 11], (i + 1) * 7 % 64 / 8.0);
  }
}

TEST(EpisodesTest, ReadsVersion2AndDropsTheTrailingPartialEpisode) {
  const Episodes episodes = ReadEpisodes(Vintage("hopper_medium-v2.hdf5"));
  EXPECT_THAT(episodes.offsets, ElementsAre(0, 500, 1500, 1501, 19000, 19001));
  EXPECT_EQ(episodes.endings[2], Ending::kTerminal);
  EXPECT_EQ(episodes.observations.size(), 19001u * 11);
  ExpectFormulas(episodes);

  const Episodes kept = ReadEpisodes(Vintage("hopper_medium-v2.hdf5"), {.keep_partial = true});
  EXPECT_EQ(kept.size(), 6u);
  EXPECT_EQ(kept.rows(), 20000u);
  EXPECT_EQ(kept.endings.back(), Ending::kPartial);
  EXPECT_TRUE(kept.next_observations.empty());
  ExpectFormulas(kept);
}

TEST(EpisodesTest, ReadsFiltersAndTypesThatOnlyHdf5Knows) {
  const Episodes episodes = ReadEpisodes(Vintage("hopper_other-types.hdf5"));
  EXPECT_THAT(episodes.offsets, ElementsAre(0, 50, 300));
  ExpectFormulas(episodes, 4);
}

TEST(EpisodesTest, ReadsMinariEpisodesInNumericOrder) {
  const Episodes episodes = ReadEpisodes(Vintage("minari.hdf5"), {.next_observations = true});
  ASSERT_EQ(episodes.size(), 12u);
  for (size_t e = 0; e < 12; ++e) {
    ASSERT_EQ(episodes.length(e), e + 1);
    EXPECT_EQ(episodes.endings[e], e % 2 == 0 ? Ending::kTerminal : Ending::kTimeout);
    EXPECT_EQ(episodes.returns[e], static_cast<double>(e * (e + 1)));
    for (size_t t = 0; t <= e; ++t) {
      const size_t row = episodes.offsets[e] + t;
      EXPECT_EQ(episodes.observations[row * 11], t * 11 + e);
      EXPECT_EQ(episodes.next_observations[row * 11 + 10], t * 11 + 21 + e);
      EXPECT_EQ(episodes.actions[row * 3 + 2], e / 16.0f);
    }
  }
}

TEST(EpisodesTest, ReadsSeveralFilesTogether) {
  const Episodes episodes = ReadEpisodes({Vintage("hopper_medium_replay-v1.hdf5"),
                                          Vintage("hopper_medium-v2.hdf5"), Vintage("minari.hdf5")},
                                         {.threads = 3});
  ASSERT_EQ(episodes.size(), 3u + 5 + 12);
  EXPECT_EQ(episodes.offsets[3], 250u);
  EXPECT_EQ(episodes.offsets[8], 250u + 19001);
  // the partial episode of the first file is gone
  EXPECT_EQ(episodes.rewards[250], 0);
  EXPECT_EQ(episodes.rewards[251], 0.75f);
  EXPECT_EQ(episodes.rewards.back(), 11);
  EXPECT_EQ(episodes.returns_to_go.size(), episodes.rows());
}

TEST(EpisodesTest, ReadsTheSameWithAnyNumberOfThreads) {
  const Episodes one = ReadEpisodes(Vintage("hopper_medium-v2.hdf5"), {.threads = 1});
  const Episodes five = ReadEpisodes(Vintage("hopper_medium-v2.hdf5"), {.threads = 5});
  EXPECT_EQ(one.observations, five.observations);
  EXPECT_EQ(one.returns_to_go, five.returns_to_go);
}

TEST(EpisodesTest, CutsAtTerminalsOrTimeoutsAndAtTheHorizonOnlyWithoutThem) {
  const std::vector<uint8_t> terminals{0, 1, 0, 0, 0, 1}, timeouts{0, 0, 0, 1, 0, 1};
  const Cuts both = CutEpisodes(terminals, timeouts, 1);
  EXPECT_THAT(both.offsets, ElementsAre(0, 2, 4, 6));
  EXPECT_THAT(both.endings, ElementsAre(Ending::kTerminal, Ending::kTimeout, Ending::kTerminal));
  const Cuts horizon = CutEpisodes(terminals, {}, 3);
  EXPECT_THAT(horizon.offsets, ElementsAre(0, 2, 5, 6));
  EXPECT_THAT(CutEpisodes(std::vector<uint8_t>{0, 0}, {}, 3).endings,
              ElementsAre(Ending::kPartial));
}

TEST(EpisodesTest, KnowsOneStepEpisodes) {
  TestFile file;
  file.Hopper(3, {0, 1, 2});
  const Episodes episodes = ReadEpisodes(file.Close());
  EXPECT_THAT(episodes.returns, ElementsAre(1, 1, 1));
}

TEST(EpisodesTest, SumsReturnsInFloat64) {
  Episodes episodes;
  episodes.offsets = {0, 1000, 1003};
  episodes.endings.resize(2);
  episodes.rewards.assign(1000, 0.1f);
  for (const float r : {1e8f, 1.0f, -1e8f}) episodes.rewards.push_back(r);
  SumReturns(episodes);
  EXPECT_NEAR(episodes.returns[0], 1000 * static_cast<double>(0.1f), 1e-9);
  EXPECT_EQ(episodes.returns_to_go[999], 0.1f);
  EXPECT_EQ(episodes.returns[1], 1);
}

TEST(EpisodesTest, TakesTheBestByReturn) {
  Episodes episodes;
  episodes.endings.resize(4);
  episodes.returns = {3, 1, 3, 2};
  EXPECT_THAT(TopEpisodes(episodes, 25), ElementsAre(0));
  EXPECT_THAT(TopEpisodes(episodes, 75), ElementsAre(0, 2, 3));
  EXPECT_THAT(TopEpisodes(episodes, 0.001), ElementsAre(0));
  EXPECT_THAT(TopEpisodes(episodes, 100), ElementsAre(0, 1, 2, 3));
  EXPECT_THROW(TopEpisodes(episodes, 0), std::invalid_argument);
  EXPECT_THROW(TopEpisodes(episodes, NAN), std::invalid_argument);
}

TEST(EpisodesTest, CompleteEpisodesAreAllButThePartialOnes) {
  Episodes episodes;
  episodes.endings = {Ending::kPartial, Ending::kTimeout, Ending::kPartial, Ending::kTerminal};
  EXPECT_THAT(CompleteEpisodes(episodes), ElementsAre(1, 3));
}

TEST(EpisodesTest, KeepsOnlyWhatIsAskedFor) {
  Episodes episodes = ReadEpisodes(Vintage("minari.hdf5"), {.next_observations = true});
  KeepEpisodes(episodes, std::vector<size_t>{2, 11});
  EXPECT_THAT(episodes.offsets, ElementsAre(0, 3, 15));
  EXPECT_THAT(episodes.returns, ElementsAre(6, 132));
  EXPECT_EQ(episodes.observations[0], 2);
  EXPECT_EQ(episodes.next_observations[14 * 11], 12 * 11 + 11);
  EXPECT_EQ(episodes.returns_to_go[14], 11);
  EXPECT_EQ(episodes.actions.size(), 45u);
  EXPECT_THROW(KeepEpisodes(episodes, std::vector<size_t>{1, 0}), std::invalid_argument);
}

TEST(EpisodesTest, FindsTheBodyByNameShapeAndHeight) {
  const auto env = [](const std::string& name, double height) {
    TestFile file(name);
    file.Array("observations", {2, 17}, std::vector<double>(34, height));
    file.Array("actions", {2, 6}).Array("rewards", {2}).Flags("terminals", 2, {1});
    return ReadEpisodes(file.Close()).env;
  };
  EXPECT_EQ(env("walker2d_medium-v2.hdf5", 0), "walker2d");
  EXPECT_EQ(env("halfcheetah_medium-v2.hdf5", 1.25), "halfcheetah");
  EXPECT_EQ(env("mine.hdf5", 1.25), "walker2d");
  EXPECT_EQ(env("mine.hdf5", -0.05), "halfcheetah");
}

TEST(EpisodesTest, LeavesOtherBodiesWithoutAName) {
  TestFile file("ant.hdf5");
  file.Array("observations", {2, 27}).Array("actions", {2, 8}).Array("rewards", {2});
  file.Flags("terminals", 2, {1});
  EXPECT_EQ(ReadEpisodes(file.Close()).env, "");
  COSDT_EXPECT_FILE_ERROR(ReadEpisodes(file.Close(), {.env = "hopper"}),
                          "expected 11 observations and 3 actions of hopper, found 27");
}

// A hopper-sized file that says it was made in `task`, or says nothing.
std::string WriteTask(const TestFile& folder, const std::string& name, const std::string& task) {
  Transitions t;
  t.task = task;
  return WriteSmallFile(folder, name, std::move(t));
}

TEST(EpisodesTest, AFileOfATaskIsOfThatTaskWhateverItsNameAndSizes) {
  const TestFile folder;
  const std::string task = WriteTask(folder, "hopper_medium-v2.hdf5", "hopper-delayed"),
                    body = WriteTask(folder, "hopper-delayed.hdf5", "");
  EXPECT_EQ(ReadTransitions(D4rlFile(task)).task, "hopper-delayed");
  EXPECT_EQ(ReadEpisodes(task).env, "hopper-delayed");
  EXPECT_EQ(ReadEpisodes(task, {.env = "hopper-delayed"}).env, "hopper-delayed");
  EXPECT_EQ(ReadEpisodes(body).env, "hopper");
  COSDT_EXPECT_FILE_ERROR(ReadEpisodes(task, {.env = "hopper"}),
                          "metadata/task: expected hopper, found hopper-delayed");
  COSDT_EXPECT_FILE_ERROR(ReadEpisodes({body, task}),
                          task + ": metadata/task: expected none as in");
  EXPECT_THROW(ReadEpisodes(body, {.env = "hopper-delayed"}), std::invalid_argument);
  EXPECT_EQ(ReadEpisodes({task, task}).rows(), 4u);
  COSDT_EXPECT_FILE_ERROR(ConcatFiles({task, body}, folder.folder() + "/c.hdf5", 1),
                          body + ": metadata/task: expected hopper-delayed, found none");
  ConcatFiles({task, task}, folder.folder() + "/c.hdf5", 1);
  EXPECT_EQ(ReadEpisodes(folder.folder() + "/c.hdf5").env, "hopper-delayed");
}

TEST(BadFileTest, NamesATaskThatIsNoText) {
  TestFile file;
  file.Hopper(4, {3}).Array("metadata/task", {1});
  COSDT_EXPECT_FILE_ERROR(ReadEpisodes(file.Close()), "metadata/task: expected");
}

TEST(BadFileTest, NamesWhatIsMissingOrDoesNotFit) {
  TestFile missing, rewards, flags, text, empty, none, partial;
  missing.Array("observations", {4, 11});
  COSDT_EXPECT_FILE_ERROR(ReadEpisodes(missing.Close()), "actions: expected a dataset, found none");
  rewards.Array("observations", {4, 11}).Array("actions", {4, 3}).Array("rewards", {5});
  COSDT_EXPECT_FILE_ERROR(ReadEpisodes(rewards.Close()), "rewards: expected shape (4), found (5)");
  flags.Hopper(4, {3}).Flags("timeouts", 3, {});
  COSDT_EXPECT_FILE_ERROR(ReadEpisodes(flags.Close()), "timeouts: expected shape (4), found (3)");
  const hid_t string = H5Tcopy(H5T_C_S1);
  text.Array("observations", {4, 11}, {0}, {.type = string});
  H5Tclose(string);
  COSDT_EXPECT_FILE_ERROR(ReadEpisodes(text.Close()),
                          "observations: expected numeric values, found another type");
  empty.Hopper(0, {});
  COSDT_EXPECT_FILE_ERROR(ReadEpisodes(empty.Close()), "expected at least one row, found none");
  COSDT_EXPECT_FILE_ERROR(ReadEpisodes(none.Close()), "observations: expected a dataset");
  partial.Hopper(4, {});
  COSDT_EXPECT_FILE_ERROR(ReadEpisodes(partial.Close()), "at least one complete episode");
}

TEST(BadFileTest, NamesZeroLengthMinariEpisodesAndOddShapes) {
  TestFile file, shape;
  file.Array("episode_0/observations", {1, 11}).Array("episode_0/actions", {0, 3});
  COSDT_EXPECT_FILE_ERROR(ReadEpisodes(file.Close()),
                          "episode_0/actions: expected at least one step, found none");
  shape.Array("episode_0/observations", {5, 11}).Array("episode_0/actions", {5, 3});
  COSDT_EXPECT_FILE_ERROR(ReadEpisodes(shape.Close()),
                          "episode_0/observations: expected shape (6, 11), found (5, 11)");
}

TEST(BadFileTest, NamesFilesThatDoNotFitEachOther) {
  TestFile other;
  other.Array("observations", {2, 17}).Array("actions", {2, 6}).Array("rewards", {2});
  other.Flags("terminals", 2, {1});
  COSDT_EXPECT_FILE_ERROR(ReadEpisodes({Vintage("minari.hdf5"), other.Close()}),
                          "expected 11 observations and 3 actions as in");
}

TEST(NormalizerTest, IsNumpysMeanAndStdPlusItsTerm) {
  Episodes episodes;
  episodes.observation_size = 2;
  episodes.observations = {1, 5, 2, 5, 6, 5};
  episodes.offsets = {0, 3};
  const Normalizer normalizer = MakeNormalizer(episodes);
  EXPECT_THAT(normalizer.mean, ElementsAre(3, 5));
  EXPECT_FLOAT_EQ(normalizer.std[0], std::sqrt(14.0 / 3) + 1e-6);
  EXPECT_FLOAT_EQ(normalizer.std[1], 1 + 1e-6);  // it never varies
  std::vector<float> x{6, 5};
  normalizer.Apply(x, x);
  EXPECT_FLOAT_EQ(x[0], 3 / normalizer.std[0]);
  EXPECT_EQ(x[1], 0);
}

// The table of ../shared/d4rl_samples/README.md.
TEST(SampleFilesTest, GiveTheirPublishedReturns) {
  struct Expected {
    const char* name;
    const char* env;
    size_t episodes, trailing, terminal;
    double mean, std;
  };
  for (const Expected& sample : std::vector<Expected>{
           {"hopper_medium", "hopper", 34, 171, 32, 1900.2, 632.3},
           {"hopper_medium_expert", "hopper", 54, 0, 32, 2584.3, 1023.5},
           {"halfcheetah_medium", "halfcheetah", 10, 0, 0, 5572.1, 76.6},
           {"halfcheetah_medium_expert", "halfcheetah", 20, 0, 0, 8544.3, 2976.4}}) {
    const std::string path = "d4rl_samples/" + std::string(sample.name) + "-sample.hdf5";
    COSDT_NEEDS_SHARED(path);
    const Episodes all = ReadEpisodes(SharedFile(path), {.keep_partial = true});
    const Episodes episodes = ReadEpisodes(SharedFile(path));
    EXPECT_EQ(episodes.env, sample.env);
    EXPECT_EQ(episodes.size(), sample.episodes);
    EXPECT_EQ(all.rows() - episodes.rows(), sample.trailing);
    EXPECT_EQ(std::ranges::count(episodes.endings, Ending::kTerminal),
              static_cast<int>(sample.terminal));
    double sum = 0, squares = 0;
    for (const double r : episodes.returns) sum += r;
    const double mean = sum / static_cast<double>(episodes.size());
    for (const double r : episodes.returns) squares += (r - mean) * (r - mean);
    EXPECT_NEAR(mean, sample.mean, 0.051) << sample.name;
    EXPECT_NEAR(std::sqrt(squares / static_cast<double>(episodes.size())), sample.std, 0.051);
  }
}

}  // namespace
}  // namespace cosdt::datasets
