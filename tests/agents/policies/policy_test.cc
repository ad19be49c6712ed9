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
              Throws<std::invalid_argument>(
                  Property(&std::exception::what,
                           HasSubstr("policy: expected scripted for a T-maze or a game (tmaze-100, "
                                     "popgym-repeat-first-easy), found it for hopper"))));
}

TEST(ScriptedPolicyTest, EpsilonIsTheShareOfRandomActions) {
  const auto pendulum = envs::MakeEnv("popgym-position-only-pendulum-easy");
  const envs::EnvSpec& spec = pendulum->fully_observed().spec();
  constexpr int kRows = 2000;
  constexpr double kEpsilon = 0.3;
  const auto policy = MakeScriptedPolicy(spec, kEpsilon);
  std::vector<float> observations, actions(kRows), log_probs(kRows);
  std::vector<envs::Rng> rngs;
  for (int row = 0; row < kRows; ++row) {
    observations.insert(observations.end(), {1, 0, 0, 0.125f});
    rngs.push_back(envs::MakeRng(1, row));
  }
  std::vector<envs::Rng*> pointers;
  for (envs::Rng& rng : rngs) pointers.push_back(&rng);
  policy->Act(observations, pointers, actions, log_probs);
  int random = 0;
  for (int row = 0; row < kRows; ++row) {
    ASSERT_LE(std::abs(actions[row]), 1);
    const bool own = actions[row] == 0.125f;
    random += !own;
    // of a random one the density, of the script's own the probability
    ASSERT_NEAR(log_probs[row], std::log(own ? 1 - kEpsilon : kEpsilon / 2), 1e-6);
  }
  EXPECT_NEAR(random, kRows * kEpsilon, 5 * std::sqrt(kRows * kEpsilon * (1 - kEpsilon)));
  for (const double epsilon : {-0.1, 1.1, std::nan("")}) {
    EXPECT_THROW(MakeScriptedPolicy(spec, epsilon), std::invalid_argument);
  }
}

TEST(PolicyTest, AGaussianPolicyIsRefusedForDiscreteActions) {
  const auto game = envs::MakeEnv("popgym-repeat-first-easy");
  EXPECT_THAT(
      [&] { MakePolicy("demo/hopper-medium", game->fully_observed().spec(), false); },
      Throws<std::runtime_error>(Property(
          &std::exception::what,
          HasSubstr(
              "metadata/policy: expected a policy of Discrete(4) of popgym-repeat-first-easy, "
              "found one of continuous actions"))));
}

TEST(PolicyTest, RandomAndZeroActionsAreOfTheSpace) {
  const auto game = envs::MakeEnv("popgym-count-recall-hard");
  const auto mean = [&](const std::string& name) {
    const auto policy = MakePolicy(name, game->fully_observed().spec(), false);
    const std::vector<double> returns =
        Rollout(*game, *policy, {.episodes = 200, .seed = 1, .threads = 2}).returns;
    return std::accumulate(returns.begin(), returns.end(), 0.0) / 200;
  };
  EXPECT_NEAR(mean("random"), 2 / 17.0 - 1, 0.01);
  // 0 is right until the first card of the kind asked for is dealt
  EXPECT_LT(mean("zero"), -0.8);
  EXPECT_GT(mean("zero"), -1);
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
