#include "envs/registry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace cosdt::envs {
namespace {

using ::testing::HasSubstr;
using ::testing::Property;
using ::testing::Throws;

TEST(RegistryTest, MakesEveryEnvironmentItNames) {
  for (const std::string& name : EnvNames()) {
    for (const Physics physics : kAllPhysics) EXPECT_EQ(MakeEnv(name, physics)->spec().name, name);
  }
}

TEST(RegistryTest, ListsTheNamesWhereOneIsUnknown) {
  EXPECT_THAT([] { MakeEnv("ant"); },
              Throws<std::invalid_argument>(Property(
                  &std::invalid_argument::what,
                  HasSubstr("expected one of hopper, halfcheetah, walker2d, found 'ant'"))));
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
