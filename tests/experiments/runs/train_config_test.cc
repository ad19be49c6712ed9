#include "experiments/runs/train_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace cosdt::experiments {
namespace {

using testing::HasSubstr;
using testing::Not;

TrainOptions FromToml(const std::string& toml) {
  TrainOptions options;
  ReadToml("run.toml", toml, options);
  return options;
}

TEST(TrainConfigTest, OldNamesOfOptionsAreRead) {
  const std::string old =
      "decay = 5\nwindows = 'whole'\nwindow = 3\nfeatures = 7\nnormalizer = 'all'\n";
  const TrainOptions options = FromToml(old);
  EXPECT_EQ(options.trainer.lr_decay, 5);
  EXPECT_EQ(options.trainer.sample, "whole");
  EXPECT_EQ(options.agent.dt.attention.window, 3);
  EXPECT_EQ(options.agent.dt.attention.features, 7);
  EXPECT_EQ(options.normalize_over, "all");
  const std::string toml = WriteToml(options);
  for (const RenamedOption& option : kRenamedOptions) {
    EXPECT_THAT(toml, HasSubstr("\n" + std::string(option.now) + " = "));
    EXPECT_THAT(toml, Not(HasSubstr("\n" + std::string(option.before) + " = ")));
  }
  EXPECT_EQ(WriteToml(FromToml(toml)), toml);
}

TEST(TrainConfigTest, ConfigFilesHaveTheseOptionsInThisOrder) {
  EXPECT_EQ(WriteToml(TrainOptions()),
            "dataset = ''\nenv = ''\nphysics = ''\ntop = 100.0\nvalidation = 0.0\n"
            "normalize-over = 'kept'\ntargets = []\ncritic = ''\ncritic-lambda = 0.0\n"
            "agent = 'dt'\nattention = 'cosformer'\nreweight-length = 0\n"
            "reweight = true\nfeature-map = 'elu'\nhalf-life = 0.0\nlocal-window = "
            "64\nperformer-features = 0\n"
            "context = 20\ntokens = 3\nlayers = 0\nheads = 1\nwidth = 0\nactivation = 'relu'\n"
            "dropout = 0.1\nmax-timestep = 0\ntimestep-std = 0.02\nalpha = 2.5\n"
            "actor-bc-coef = 1.0\ncritic-bc-coef = 1.0\nexpectile = 0.7\nbeta = 3.0\ntau = 0.005\n"
            "iql-deterministic = false\nnormalize-reward = false\nbatch-size = 0\n"
            "sample = 'any'\nlr = 0.0\nweight-decay = 1e-04\nwarmup = 10000\nlr-decay = 0\n"
            "clip = 0.25\nreturn-scale = 0.0\nprecision = 'fp32'\nseed = 0\n"
            "updates = 100000\nsave-every = 1000\neval-every = 0\nepisodes = 10\nthreads = 1\n");
}

TEST(TrainConfigTest, TargetsAreNumbersOrAuto) {
  using agents::Target;
  TrainOptions options = FromToml("targets = 'auto'");
  EXPECT_EQ(options.targets, std::vector<Target>{Target::Auto()});
  SetFromFlags({{"targets", "3600,auto"}}, options);
  EXPECT_EQ(options.targets, (std::vector<Target>{3600, Target::Auto()}));
  EXPECT_THAT(WriteToml(options), HasSubstr("\ntargets = [ 3600.0, 'auto' ]\n"));
  EXPECT_EQ(FromToml(WriteToml(options)).targets, options.targets);
  for (const char* const bad : {"3600,", "much", "inf", "auto,nan"}) {
    EXPECT_THAT([&] { SetFromFlags({{"targets", bad}}, options); },
                testing::ThrowsMessage<std::invalid_argument>(
                    std::string("--targets: expected numbers or auto, found ") + bad));
  }
  for (const char* const bad : {"'much'", "3600", "[true]"}) {
    EXPECT_THAT([&] { FromToml(std::string("targets = ") + bad); },
                testing::ThrowsMessage<std::invalid_argument>(
                    HasSubstr("run.toml: targets: expected numbers or auto, found ")));
  }
}

TEST(TrainOptionsTest, AutoIsForAgentsThatReadTargets) {
  const auto message = [](const std::string& agent) -> std::string {
    try {
      FromToml("targets = ['auto']\nagent = '" + agent + "'").ValidateForAnyData();
    } catch (const std::invalid_argument& e) {
      return e.what();
    }
    return "";
  };
  EXPECT_EQ(message("dt"), "");
  EXPECT_EQ(
      message("bc"),
      "targets: expected numbers for behaviour cloning, which does not read them, found auto");
  EXPECT_EQ(message("iql"), "targets: expected none for IQL, which takes none, found 1");
}

TEST(TrainConfigTest, AnOptionOfAllKindsOfAgentsIsSetInAll) {
  TrainOptions options = FromToml("layers = 4\nwidth = 16");
  EXPECT_EQ(options.agent.dt.layers, 4);
  EXPECT_EQ(options.agent.bc.layers, 4);
  SetFromFlags({{"width", "32"}}, options);
  EXPECT_EQ(options.agent.dt.width, 32);
  EXPECT_EQ(options.agent.bc.width, 32);
}

TEST(TrainConfigTest, OldFlagsAreTakenAndNotShown) {
  TrainFlags flags;
  CLI::App app;
  AddTrainFlags(app, {"context"}, flags);
  app.parse("--decay 5 --windows whole --lr 0.5");
  EXPECT_EQ(flags, (TrainFlags{{"lr-decay", "5"}, {"sample", "whole"}, {"lr", "0.5"}}));
  TrainOptions options;
  SetFromFlags(flags, options);
  EXPECT_EQ(options.trainer.lr_decay, 5);
  EXPECT_EQ(options.trainer.sample, "whole");
  const std::string help = app.help();
  for (const char* shown : {"--lr-decay", "--sample", "--local-window", "--performer-features"}) {
    EXPECT_THAT(help, HasSubstr(std::string(" ") + shown + " "));
  }
  for (const char* hidden : {"--decay", "--windows", "--window", "--features", "--timestep-std",
                             "--max-timestep", "--normalize-over", "--reweight", "--context"}) {
    EXPECT_THAT(help, Not(HasSubstr(std::string(" ") + hidden + " ")));
  }
}

TEST(TrainConfigTest, WhatIsInConfigFilesAloneIsNoFlag) {
  for (const char* arguments : {"--timestep-std 1", "--max-timestep 30", "--normalize-over all",
                                "--normalizer all", "--reweight false", "--context 5"}) {
    TrainFlags flags;
    CLI::App app;
    AddTrainFlags(app, {"context"}, flags);
    EXPECT_THROW(app.parse(arguments), CLI::ExtrasError) << arguments;
  }
  const TrainOptions options = FromToml("timestep-std = 1\nmax-timestep = 30\nreweight = false");
  EXPECT_EQ(options.agent.dt.timestep_std, 1);
  EXPECT_EQ(options.agent.dt.max_timestep, 30);
  EXPECT_FALSE(options.agent.dt.attention.reweight);
}

TEST(TrainOptionsTest, WhatIsOpenFollowsFromAgentAndEnvironment) {
  TrainOptions options;
  options.FillDefaults();
  EXPECT_EQ(options.agent.dt.layers, 3);
  EXPECT_EQ(options.agent.dt.width, 128);
  EXPECT_EQ(options.agent.dt.max_timestep, 1000);
  EXPECT_EQ(options.trainer.return_scale, 1000);
  EXPECT_TRUE(options.targets.empty());

  TrainOptions maze = FromToml("agent = 'bc'\nlayers = 4\nenv = 'tmaze-1000'");
  maze.FillDefaults();
  EXPECT_EQ(maze.agent.bc.layers, 4);
  EXPECT_EQ(maze.agent.bc.width, 256);
  EXPECT_EQ(maze.agent.dt.max_timestep, 1002);
  EXPECT_EQ(maze.trainer.return_scale, 1);
  EXPECT_EQ(maze.targets, std::vector<agents::Target>{1});
  EXPECT_THAT(WriteToml(maze), HasSubstr("\nlayers = 4\n"));
  EXPECT_THAT(WriteToml(maze), HasSubstr("\nwidth = 256\n"));

  TrainOptions again;
  again.agent.dt.width = 8;
  again.FillFrom(maze);
  EXPECT_EQ(again.agent.dt.width, 8);
  EXPECT_EQ(again.agent.dt.layers, 4);
  EXPECT_EQ(again.env, "tmaze-1000");
  EXPECT_EQ(again.trainer.return_scale, 1);
}

}  // namespace
}  // namespace cosdt::experiments
