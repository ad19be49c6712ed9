#include "experiments/runs/resolved_run.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "tests/program.h"

namespace cosdt::experiments {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class ResolvedRunTest : public testing::Test {
 protected:
  ResolvedRunTest() {
    fs::create_directories(folder_);
    options_.dataset = folder_ + "/hopper.hdf5";
    EXPECT_EQ(RunProgram("data collect --env hopper --policy random --transitions 600 --out " +
                         options_.dataset)
                  .exit_code,
              0);
  }
  ~ResolvedRunTest() override { fs::remove_all(folder_); }

  std::string Message() const {
    try {
      ResolveRun(options_, "");
    } catch (const std::exception& e) {
      return e.what();
    }
    return "nothing was thrown";
  }

  std::string folder_ = testing::TempDir() + "resolved_" + std::to_string(getpid());
  TrainOptions options_;
};

TEST_F(ResolvedRunTest, HoldsOutWholeEpisodesThroughoutTheFile) {
  const datasets::Episodes all = datasets::ReadEpisodes(options_.dataset);
  options_.validation = 25;
  const ResolvedRun run = ResolveRun(options_, "");
  const datasets::Episodes &held = run.data().held_out, &kept = run.data().episodes;
  ASSERT_EQ(held.size(), all.size() / 4);
  ASSERT_EQ(held.size() + kept.size(), all.size());
  size_t from_held = 0, from_kept = 0;
  for (size_t i = 0; i < all.size(); ++i) {
    const bool is_held = i % 4 == 3;
    const datasets::Episodes& side = is_held ? held : kept;
    const size_t at = is_held ? from_held++ : from_kept++;
    EXPECT_EQ(side.returns[at], all.returns[i]) << i;
    ASSERT_EQ(side.length(at), all.length(i)) << i;
    for (size_t row = 0; row < all.length(i); ++row) {
      const size_t ours = side.offsets[at] + row, theirs = all.offsets[i] + row;
      EXPECT_EQ(side.observations[11 * ours + 10], all.observations[11 * theirs + 10]);
      EXPECT_EQ(side.actions[3 * ours], all.actions[3 * theirs]);
      EXPECT_EQ(side.returns_to_go[ours], all.returns_to_go[theirs]);
    }
  }
  EXPECT_EQ(run.data().normalizer.mean, datasets::MakeNormalizer(kept).mean);

  options_.validation = 1e-3;
  EXPECT_THAT(Message(), HasSubstr("validation: expected a share of at least one of " +
                                   std::to_string(all.size()) + " episodes, found 0.001"));
  for (const double percent : {-1., 100.}) {
    options_.validation = percent;
    EXPECT_THAT(Message(), HasSubstr("validation: expected a share from 0 to below 100 %"));
  }
}

TEST_F(ResolvedRunTest, NothingIsLeftOpen) {
  const ResolvedRun run = ResolveRun(options_, "");
  const TrainOptions& options = run.options();
  EXPECT_EQ(options.env, "hopper");
  EXPECT_EQ(options.physics, "d4rl");
  EXPECT_THAT(options.targets, testing::ElementsAre(3600, 1800));
  EXPECT_EQ(options.agent.dt.layers, 3);
  EXPECT_EQ(options.agent.observation_size(), 11);
  EXPECT_EQ(options.agent.action_size(), 3);
  EXPECT_EQ(options.agent.dt.max_timestep, 1000);
  EXPECT_EQ(options.trainer.return_scale, 1000);
  options.Validate();
  EXPECT_EQ(run.data().path, options_.dataset);
  EXPECT_EQ(run.data().sha256.size(), 64u);

  // what is asked for stays
  options_.targets = {7};
  options_.trainer.return_scale = 5;
  options_.agent.dt.max_timestep = 40;
  options_.agent.kind = "bc";
  options_.agent.bc.width = 8;
  const ResolvedRun asked = ResolveRun(options_, "");
  EXPECT_EQ(asked.options().targets, std::vector<agents::Target>{7});
  EXPECT_EQ(asked.options().trainer.return_scale, 5);
  EXPECT_EQ(asked.options().agent.dt.max_timestep, 40);
  EXPECT_EQ(asked.options().agent.bc.width, 8);
  EXPECT_EQ(asked.options().agent.bc.layers, 2);
}

TEST_F(ResolvedRunTest, TheNormalizerIsOfTheKeptEpisodesOrOfAllRows) {
  options_.top = 20;
  const ResolvedRun kept = ResolveRun(options_, "");
  options_.normalize_over = "all";
  const ResolvedRun all = ResolveRun(options_, "");
  EXPECT_EQ(kept.data().episodes.size(), all.data().episodes.size());
  EXPECT_EQ(kept.data().normalizer.mean, datasets::MakeNormalizer(kept.data().episodes).mean);
  const datasets::Episodes everything =
      datasets::ReadEpisodes(options_.dataset, {.keep_partial = true});
  EXPECT_EQ(all.data().normalizer.mean, datasets::MakeNormalizer(everything).mean);
  EXPECT_NE(all.data().normalizer.mean, kept.data().normalizer.mean);
}

TEST_F(ResolvedRunTest, OptionsAreRefusedBeforeDataAreRead) {
  options_.dataset = "nowhere.hdf5";
  EXPECT_THAT(Message(), HasSubstr("nowhere.hdf5"));
  options_.threads = 1025;
  EXPECT_EQ(Message(), "threads: expected 1 to 1024, found 1025");
  options_.threads = 1;
  options_.episodes = 0;
  EXPECT_EQ(Message(), "episodes: expected 1 to 10000000, found 0");
  options_.episodes = 1;
  options_.normalize_over = "none";
  EXPECT_EQ(Message(), "normalize-over: expected kept or all, found none");
  options_.normalize_over = "kept";
  options_.agent.dt.heads = 3;
  EXPECT_THAT(Message(), HasSubstr("width: expected a multiple of heads = 3, found 128"));
  options_.dataset = "";
  EXPECT_THAT(Message(), HasSubstr("dataset: expected a file or a name"));
}

}  // namespace
}  // namespace cosdt::experiments
