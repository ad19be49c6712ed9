#include "agents/policies/policy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "agents/rollout/rollout.h"
#include "envs/registry.h"

namespace cosdt::agents {
namespace {

using ::testing::HasSubstr;
using ::testing::Property;
using ::testing::Throws;

TEST(ScriptedPolicyTest, TakesTheRightArmThreeTimesInFour) {
  const auto maze = envs::MakeEnv("tmaze-10");
  const auto policy = MakePolicy("scripted", maze->fully_observed().spec(), false);
  constexpr int kEpisodes = 2000;
  const std::vector<double> returns =
      Rollout(*maze, *policy, {.episodes = kEpisodes, .seed = 3, .threads = 1}).returns;
  const double right = std::accumulate(returns.begin(), returns.end(), 0.0);
  // 5 standard deviations
  EXPECT_NEAR(right, 0.75 * kEpisodes, 5 * std::sqrt(kEpisodes * 0.75 * 0.25));
}

TEST(ScriptedPolicyTest, ActsByTheSignAtTheJunctionOnly) {
  const auto policy = MakePolicy("scripted", envs::MakeEnv("tmaze-10")->spec(), false);
  constexpr int kRows = 400;
  for (const float junction : {0.0f, 1.0f}) {
    for (const float sign : {-1.0f, 1.0f}) {
      std::vector<float> observations, actions(kRows), log_probs(kRows);
      std::vector<envs::Rng> rngs;
      for (int row = 0; row < kRows; ++row) {
        observations.insert(observations.end(), {sign, junction});
        rngs.push_back(envs::MakeRng(1, row));
      }
      std::vector<envs::Rng*> pointers;
      for (envs::Rng& rng : rngs) pointers.push_back(&rng);
      policy->Act(observations, pointers, actions, log_probs);
      int right = 0;
      for (int row = 0; row < kRows; ++row) {
        ASSERT_EQ(std::abs(actions[row]), junction);
        right += actions[row] == sign;
        const float probability = junction == 0 ? 1 : actions[row] == sign ? 0.75f : 0.25f;
        ASSERT_FLOAT_EQ(log_probs[row], std::log(probability));
      }
      if (junction == 0) continue;
      EXPECT_NEAR(right, 0.75 * kRows, 5 * std::sqrt(kRows * 0.75 * 0.25));
    }
  }
}

TEST(ScriptedPolicyTest, IsRefusedElsewhere) {
  EXPECT_THAT([] { MakePolicy("scripted", envs::MakeEnv("hopper")->spec(), false); },
              Throws<std::invalid_argument>(Property(
                  &std::exception::what,
                  HasSubstr("policy: expected scripted for a T-maze (tmaze-100), found it for "
                            "hopper"))));
}

TEST(PolicyTest, ABodysPolicyPlaysItsTasksAsItPlaysTheBody) {
  const auto returns = [](const std::string& name) {
    const auto env = envs::MakeEnv(name);
    const auto policy = MakePolicy("demo/hopper-medium", env->fully_observed().spec(), false);
    return Rollout(*env, *policy, {.episodes = 3, .seed = 1, .threads = 1}).returns;
  };
  const std::vector<double> body = returns("hopper");
  EXPECT_GT(body[0], 500);
  EXPECT_EQ(returns("hopper-position"), body);
  EXPECT_EQ(returns("hopper-dropped-90"), body);
  EXPECT_EQ(returns("hopper-delayed"), body);
}

}  // namespace
}  // namespace cosdt::agents
