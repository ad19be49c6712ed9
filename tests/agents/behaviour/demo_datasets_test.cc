#include "agents/behaviour/demo_datasets.h"
#include "agents/policies/demo_policies.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <sstream>

#include "agents/rollout/rollout.h"
#include "datasets/episodes.h"
#include "datasets/policy_file.h"
#include "datasets/transitions.h"
#include "envs/registry.h"

namespace cosdt::agents {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Property;
using ::testing::Throws;

class DemoTest : public ::testing::Test {
 protected:
  DemoTest() {
    char path[] = "/tmp/cosdt_demo_XXXXXX";
    root_ = mkdtemp(path);
  }
  ~DemoTest() override { std::filesystem::remove_all(root_); }

  std::string Make(const std::string& name, int64_t transitions, int threads = 1) {
    const std::string path = root_ + "/" + std::to_string(made_++) + ".hdf5";
    MakeDemoDataset(name, path, {.transitions = transitions, .threads = threads});
    return path;
  }

  datasets::Transitions Read(const std::string& path) {
    return datasets::ReadTransitions(datasets::D4rlFile(path));
  }

  std::string root_;
  int made_ = 0;
};

std::string Bytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

TEST_F(DemoTest, EveryDatasetIsTheSameForAnyNumberOfThreads) {
  EXPECT_THAT(DemoDatasets(), Contains("demo/hopper-medium-replay"));
  for (const std::string& name : DemoDatasets()) {
    EXPECT_TRUE(IsDemoDataset(name));
    EXPECT_TRUE(Bytes(Make(name, 150, 1)) == Bytes(Make(name, 150, 3))) << name;
  }
  EXPECT_FALSE(IsDemoDataset("hopper-medium"));
}

TEST_F(DemoTest, TasksAreMadeWithTheirBodysPolicies) {
  for (const char* name : {"demo/halfcheetah-dropped-7-medium-replay", "demo/tmaze-1000",
                           "demo/hopper-velocity-random"}) {
    EXPECT_TRUE(IsDemoDataset(name)) << name;
  }
  for (const char* name :
       {"demo/ant-position-medium", "demo/hopper-dropped-0-medium", "demo/tmaze-5",
        "demo/tmaze-100-medium", "demo/hopper-position", "demo/", "hopper-position-medium"}) {
    EXPECT_FALSE(IsDemoDataset(name)) << name;
  }
  const datasets::Transitions body = Read(Make("demo/hopper-medium-expert", 900)),
                              task = Read(Make("demo/hopper-dropped-30-medium-expert", 900));
  EXPECT_EQ(task.task, "hopper-dropped-30");
  EXPECT_EQ(task.physics, "d4rl");
  EXPECT_EQ(body.physics, "d4rl");
  EXPECT_EQ(body.mujoco_version, envs::MujocoVersion());
  EXPECT_EQ(task.actions, body.actions);
  EXPECT_EQ(task.rewards, body.rewards);
  EXPECT_EQ(datasets::ReadEpisodes(Make("demo/hopper-delayed-medium", 900)).env, "hopper-delayed");
  const datasets::Episodes maze = datasets::ReadEpisodes(Make("demo/tmaze-10", 0));
  EXPECT_EQ(maze.env, "tmaze-10");
  EXPECT_EQ(Read(Make("demo/tmaze-10", 100)).physics, "");
  EXPECT_EQ(maze.size(), 500u);
  const datasets::Episodes game = datasets::ReadEpisodes(Make("demo/popgym-repeat-first-easy", 0));
  EXPECT_EQ(game.discrete_actions, 4);
  EXPECT_EQ(game.size(), 500u);
  EXPECT_LT(*std::ranges::min_element(game.returns), 0.6);
  EXPECT_GT(*std::ranges::max_element(game.returns), 0.8);
  const datasets::Episodes winners = datasets::ReadEpisodes(Make("demo/rate-tmaze-max-20", 0));
  EXPECT_EQ(*std::ranges::min_element(winners.returns), 1);
}

TEST_F(DemoTest, PartsFollowEachOtherInCompleteEpisodes) {
  const datasets::Transitions expert = Read(Make("demo/hopper-expert", 3000));
  const datasets::Transitions both = Read(Make("demo/hopper-medium-expert", 6000));
  // the first part is the expert's, up to its last complete episode
  size_t rows = 3000;
  while (rows > 0 && !expert.terminals[rows - 1] && !expert.timeouts[rows - 1]) --rows;
  ASSERT_GT(rows, 0u);
  EXPECT_EQ(both.rows(), rows + 3000);
  EXPECT_TRUE(
      std::equal(expert.rewards.begin(), expert.rewards.begin() + rows, both.rewards.begin()));
}

TEST_F(DemoTest, KeepsThePolicyOfDatasetsThatHaveOne) {
  const std::string medium = Make("demo/hopper-medium", 100);
  EXPECT_EQ(datasets::ReadPolicy(datasets::Hdf5File(medium)).observation_size(), 11);
  EXPECT_EQ(datasets::ReadPolicyOrigin(datasets::Hdf5File(medium)).algorithm, "SAC");
  EXPECT_GT(datasets::ReadPolicyOrigin(datasets::Hdf5File(medium)).iteration, 0);
  EXPECT_ANY_THROW(datasets::ReadPolicy(datasets::Hdf5File(Make("demo/hopper-random", 100))));
  EXPECT_ANY_THROW(
      datasets::ReadPolicy(datasets::Hdf5File(Make("demo/hopper-medium-expert", 100))));
}

TEST_F(DemoTest, NamesWhatThereIsForAnotherName) {
  EXPECT_THAT([&] { Make("demo/ant-medium", 100); },
              Throws<std::invalid_argument>(Property(
                  &std::exception::what,
                  HasSubstr("dataset: expected one of demo/hopper-random, demo/hopper-medium"))));
  EXPECT_THAT([&] { OpenDemoPolicy("demo/ant-medium"); },
              Throws<std::invalid_argument>(
                  Property(&std::exception::what, HasSubstr("found 'demo/ant-medium'"))));
  EXPECT_THAT([&] { Make("demo/hopper-medium-expert", 1); },
              Throws<std::invalid_argument>(
                  Property(&std::exception::what, HasSubstr("transitions: expected at least 2"))));
}

TEST_F(DemoTest, SaysWhatCannotBeWritten) {
  EXPECT_THAT(
      [] { MakeDemoDataset("demo/hopper-random", "/proc/x.hdf5", {.transitions = 10}); },
      Throws<std::runtime_error>(Property(&std::exception::what, HasSubstr("/proc/x.hdf5"))));
}

// Processors differ in their last bits, so that files differ; what they hold must not.
struct Card {
  const char* policy;
  double mean, standard_error;  // of 200 stochastic episodes, experiments/results/behaviour; half
                                // cheetah's medium falls so seldom that 200 episodes understate it
};

class DemoPolicySlowTest : public ::testing::TestWithParam<Card> {};

TEST_P(DemoPolicySlowTest, ReturnsWhatItsCardSays) {
  const Card card = GetParam();
  const std::string name = card.policy;
  const std::unique_ptr<envs::Env> env = envs::MakeEnv(name.substr(5, name.find('-') - 5));
  const std::unique_ptr<Policy> policy = MakePolicy(name, env->spec(), false);
  const std::vector<double> returns =
      Rollout(*env, *policy, {.episodes = 100, .seed = 7, .threads = 2}).returns;
  const double mean = std::accumulate(returns.begin(), returns.end(), 0.0) / 100;
  // 100 episodes against 200: errors add to 1.73 of the card's
  EXPECT_NEAR(mean, card.mean, 4 * 1.73 * card.standard_error);
}

INSTANTIATE_TEST_SUITE_P(Demo, DemoPolicySlowTest,
                         ::testing::Values(Card{"demo/hopper-medium", 1273.3, 11.2},
                                           Card{"demo/hopper-expert", 3263.2, 7.8},
                                           Card{"demo/halfcheetah-medium", 5091.3, 30},
                                           Card{"demo/halfcheetah-expert", 9685.4, 9.4},
                                           Card{"demo/walker2d-medium", 2657.0, 59.3},
                                           Card{"demo/walker2d-expert", 4402.0, 38.4}),
                         [](const auto& test) {
                           std::string name = test.param.policy;
                           std::erase_if(name, [](char c) { return c == '/' || c == '-'; });
                           return name;
                         });

}  // namespace
}  // namespace cosdt::agents
