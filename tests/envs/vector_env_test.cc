#include "envs/vector_env.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <string>
#include <vector>

#include "envs/registry.h"

namespace cosdt::envs {
namespace {

constexpr int kBodies = 9;

// 100 steps of all bodies under random actions, as one long list of everything that came out.
std::vector<double> Trajectory(const std::string& name, int threads) {
  ThreadPool pool(threads);
  VectorEnv env(*MakeEnv(name), kBodies, pool);
  std::vector<int> rows(kBodies);
  std::iota(rows.begin(), rows.end(), 0);
  for (const int row : rows) env.Reset(row, row);
  Rng noise = MakeRng(2, 0);
  std::uniform_real_distribution<float> uniform(-1, 1);
  std::vector<float> actions(kBodies * env.spec().action_size);
  std::vector<double> everything;
  for (int t = 0; t < 100; ++t) {
    for (float& a : actions) a = uniform(noise);
    env.Step(rows, actions);
    for (const int row : rows) {
      everything.insert(everything.end(), env.observation(row).begin(), env.observation(row).end());
      everything.push_back(env.result(row).reward);
      if (env.result(row).terminated) env.Reset(row, t);
    }
  }
  return everything;
}

TEST(VectorEnvTest, ResultsAreBitEqualForAnyNumberOfThreads) {
  std::vector<std::string> names = BodyNames();
  names.insert(names.end(), {"hopper-dropped-50", "halfcheetah-velocity", "tmaze-20",
                             "popgym-position-only-pendulum-hard"});
  for (const std::string& name : names) {
    const std::vector<double> one = Trajectory(name, 1);
    EXPECT_EQ(Trajectory(name, 2), one) << name;
    EXPECT_EQ(Trajectory(name, 8), one) << name;
  }
}

TEST(VectorEnvTest, GivesFullObservationsBesideWhatIsShown) {
  ThreadPool pool(2);
  VectorEnv body(*MakeEnv("hopper"), 3, pool), task(*MakeEnv("hopper-position"), 3, pool);
  EXPECT_EQ(body.full_observation_size(), 11);
  EXPECT_EQ(task.full_observation_size(), 11);
  const std::vector<int> rows = {0, 1, 2};
  for (const int row : rows) {
    body.Reset(row, row);
    task.Reset(row, row);
  }
  for (int t = 0; t < 5; ++t) {
    const std::vector<float> actions = {.1f, -.2f, .3f, .4f, .5f, -.6f, -.7f, .8f, .9f};
    body.Step(rows, actions);
    task.Step(rows, actions);
    for (const int row : rows) {
      const auto all = body.observation(row), full = task.full_observation(row),
                 shown = task.observation(row);
      EXPECT_TRUE(std::ranges::equal(body.full_observation(row), all));
      EXPECT_TRUE(std::ranges::equal(full, all));
      EXPECT_TRUE(std::ranges::equal(shown, all.subspan(0, 5)));
    }
  }
}

TEST(VectorEnvTest, StepsLikeASingleEnvironment) {
  const auto single = MakeEnv("hopper");
  ThreadPool pool(2);
  VectorEnv env(*single, 2, pool);
  single->Reset(5);
  env.Reset(1, 5);
  const std::vector<float> action = {.25f, -.5f, .75f};
  for (int t = 0; t < 10; ++t) {
    const StepResult expected = single->Step(std::vector<double>{.25, -.5, .75});
    env.Step(std::vector<int>{1}, action);
    EXPECT_EQ(env.result(1).reward, expected.reward);
  }
  std::vector<double> observation(11);
  single->Observe(observation);
  for (int i = 0; i < 11; ++i) EXPECT_EQ(env.observation(1)[i], static_cast<float>(observation[i]));
}

TEST(VectorEnvTest, StepsOnlyTheRowsGiven) {
  ThreadPool pool(1);
  VectorEnv env(*MakeEnv("hopper"), 3, pool);
  for (int row = 0; row < 3; ++row) env.Reset(row, 0);
  const std::vector<float> before(env.observation(1).begin(), env.observation(1).end());
  env.Step(std::vector<int>{2, 0}, std::vector<float>{1, 1, 1, 0, 0, 0});
  EXPECT_EQ(std::vector<float>(env.observation(1).begin(), env.observation(1).end()), before);
  EXPECT_NE(env.observation(0)[5], env.observation(2)[5]) << "actions follow the order of the rows";
}

TEST(VectorEnvTest, PassesOnWhatAStepThrows) {
  ThreadPool pool(2);
  VectorEnv env(*MakeEnv("hopper"), 2, pool);
  EXPECT_THROW(env.Step(std::vector<int>{0, 1}, std::vector<float>{0, 0, 0, 0, NAN, 0}),
               std::invalid_argument);
  EXPECT_THROW(env.Step(std::vector<int>{0, 1}, std::vector<float>(3)), std::invalid_argument);
}

}  // namespace
}  // namespace cosdt::envs
