#include "envs/registry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "envs/level.h"

namespace cosdt::envs {
namespace {

using ::testing::HasSubstr;
using ::testing::Property;
using ::testing::Throws;

TEST(RegistryTest, MakesEveryEnvironmentUnderItsName) {
  for (const std::string& body : BodyNames()) {
    for (const char* task :
         {"", "-position", "-velocity", "-delayed", "-dropped-1", "-dropped-99"}) {
      for (const Physics physics : kAllPhysics) {
        EXPECT_EQ(MakeEnv(body + task, physics)->spec().name, body + task);
      }
    }
  }
  for (const char* name : {"tmaze-10", "tmaze-1000", "rate-tmaze-3", "rate-tmaze-max-9600",
                           "memory-rl-tmaze-1500", "popgym-count-recall-hard"}) {
    EXPECT_EQ(MakeEnv(name)->spec().name, name);
  }
}

TEST(RegistryTest, TakesNamesApart) {
  const EnvName body = ParseEnvName("halfcheetah"), dropped = ParseEnvName("hopper-dropped-50"),
                maze = ParseEnvName("tmaze-100");
  EXPECT_EQ(body.body, "halfcheetah");
  EXPECT_EQ(body.task, "");
  EXPECT_EQ(dropped.body, "hopper");
  EXPECT_EQ(dropped.task, "dropped");
  EXPECT_EQ(dropped.number, 50);
  EXPECT_EQ(maze.body, "");
  EXPECT_EQ(maze.task, "tmaze");
  EXPECT_EQ(maze.number, 100);
  const EnvName game = ParseEnvName("popgym-autoencode-hard"),
                rate = ParseEnvName("rate-tmaze-max-noise-900");
  EXPECT_EQ(game.body, "");
  EXPECT_EQ(game.task, "popgym-autoencode");
  EXPECT_EQ(game.number, static_cast<int>(Level::kHard));
  EXPECT_EQ(rate.task, "rate-tmaze-max-noise");
  EXPECT_EQ(rate.number, 900);
}

void ExpectRefused(const std::string& name, const std::string& expected) {
  EXPECT_THAT([&] { MakeEnv(name); },
              Throws<std::invalid_argument>(
                  Property(&std::invalid_argument::what,
                           HasSubstr("env: expected " + expected + ", found '" + name + "'"))));
}

TEST(RegistryTest, SaysWhatThereIsWhereANameIsUnknown) {
  for (const char* name :
       {"", "ant", "hopper-", "hopper-speed", "hopper-dropped", "hopper-dropped-",
        "hopper-dropped-50%", "hopper-dropped-050", "hopper-dropped-5.5", "hopperposition",
        "hopper-position-velocity", "tmaze", "tmaze-", "tmaze-1e2", "tmaze-+10",
        "tmaze-99999999999999999999"}) {
    ExpectRefused(
        name,
        "one of hopper, halfcheetah, walker2d, with or without -position, -velocity, "
        "-delayed or -dropped-P (P from 1 to 99), tmaze-N (N from 10 to 1000), rate-tmaze-N "
        "(3 to 9600), memory-rl-tmaze-N (1 to 1500), or a game such as "
        "popgym-repeat-first-easy");
  }
}

TEST(RegistryTest, NamesTheRangeOfANumberThatIsOutOfIt) {
  for (const char* name : {"hopper-dropped-0", "hopper-dropped-100", "hopper-dropped--5"}) {
    ExpectRefused(name, "a percentage of 1 to 99 in hopper-dropped-P");
  }
  for (const char* name : {"tmaze-9", "tmaze-1001", "tmaze-0"}) {
    ExpectRefused(name, "a corridor of 10 to 1000 steps in tmaze-N");
  }
  ExpectRefused("rate-tmaze-2", "an episode of 3 to 9600 steps in rate-tmaze-N");
  ExpectRefused("rate-tmaze-max-9601", "a longest episode of 3 to 9600 steps in rate-tmaze-max-N");
  ExpectRefused("memory-rl-tmaze-1501", "a corridor of 1 to 1500 steps in memory-rl-tmaze-N");
}

TEST(RegistryTest, NamesTheLevelsAndGamesThereAre) {
  for (const char* name : {"popgym-autoencode", "popgym-autoencode-", "popgym-autoencode-hardest",
                           "popgym-autoencode-easy-hard"}) {
    ExpectRefused(name, "a level easy, medium or hard in popgym-autoencode-LEVEL");
  }
  ExpectRefused("popgym-battleship-easy",
                "one of popgym-repeat-first, popgym-repeat-previous, popgym-autoencode, "
                "popgym-count-recall, popgym-higher-lower, popgym-position-only-cart-pole, "
                "popgym-position-only-pendulum, with -easy, -medium or -hard");
  EXPECT_EQ(GameNames().size(), 21u);
}

TEST(NormalizedScoreTest, HasD4rlsConstants) {
  // the returns that D4RL's table scores with 0 and 100
  const ScoreRange hopper = *MakeEnv("hopper")->spec().score_range;
  EXPECT_DOUBLE_EQ(NormalizedScore(hopper, -20.272305), 0);
  EXPECT_DOUBLE_EQ(NormalizedScore(hopper, 3234.3), 100);
  EXPECT_NEAR(NormalizedScore(*MakeEnv("halfcheetah")->spec().score_range, 4770.33), 40.68, 0.005);
  EXPECT_NEAR(NormalizedScore(*MakeEnv("walker2d")->spec().score_range, 2852.09), 62.09, 0.005);
}

}  // namespace
}  // namespace cosdt::envs
