#include "envs/tmaze.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "envs/registry.h"

namespace cosdt::envs {
namespace {

using ::testing::HasSubstr;
using ::testing::Property;
using ::testing::Throws;

struct Episode {
  std::vector<std::vector<double>> observations;  // before each step, and after the last
  std::vector<StepResult> steps;
};

std::vector<double> Observation(const Env& env) {
  std::vector<double> observation(env.spec().observation_size);
  env.Observe(observation);
  return observation;
}

// Plays an episode with uniform actions drawn with `noise`; `last` is the junction's.
Episode Play(Env& env, uint64_t seed, uint64_t noise, double last) {
  Rng rng = MakeRng(noise, 0);
  std::uniform_real_distribution<double> uniform(-1, 1);
  Episode episode;
  env.Reset(seed);
  episode.observations.push_back(Observation(env));
  for (StepResult step; !step.terminated && !step.truncated;) {
    const bool junction = episode.observations.back()[TMaze::kJunction] == 1;
    const double action = junction ? last : uniform(rng);
    step = env.Step(std::vector<double>{action});
    episode.steps.push_back(step);
    episode.observations.push_back(Observation(env));
  }
  return episode;
}

TEST(TMazeTest, AnEpisodeIsTheStartTheCorridorAndTheJunction) {
  for (const int corridor : {10, 100, 1000}) {
    TMaze maze(corridor);
    EXPECT_EQ(maze.spec().horizon, corridor + 2);
    const Episode episode = Play(maze, 5, 1, 1.0);
    ASSERT_EQ(episode.steps.size(), corridor + 2u);
    for (size_t t = 0; t < episode.steps.size(); ++t) {
      const bool last = t + 1 == episode.steps.size();
      EXPECT_EQ(episode.steps[t].terminated, last);
      EXPECT_FALSE(episode.steps[t].truncated);
      EXPECT_EQ(episode.observations[t][TMaze::kJunction], last);
    }
  }
}

TEST(TMazeTest, PaysOneForTheArmOfTheSignAndNothingElse) {
  TMaze maze(10);
  for (uint64_t seed = 0; seed < 20; ++seed) {
    for (const double action : {1.0, 0.01, 0.0, -0.01, -1.0}) {
      const Episode episode = Play(maze, seed, seed, action);
      const double sign = episode.observations[0][TMaze::kSign];
      ASSERT_EQ(std::abs(sign), 1);
      for (size_t t = 0; t + 1 < episode.steps.size(); ++t) EXPECT_EQ(episode.steps[t].reward, 0);
      EXPECT_EQ(episode.steps.back().reward, (action > 0) == (sign > 0));
    }
  }
}

TEST(TMazeTest, OnlyTheFirstObservationTellsTheSign) {
  TMaze maze(12);
  std::vector<std::vector<double>> after_start;  // as every episode shows it
  int positive = 0;
  constexpr int kEpisodes = 400;
  for (int i = 0; i < kEpisodes; ++i) {
    Episode episode = Play(maze, i, 1000 + i, i % 2 ? 1.0 : -1.0);
    positive += episode.observations[0][TMaze::kSign] > 0;
    episode.observations.erase(episode.observations.begin());
    if (after_start.empty()) after_start = episode.observations;
    ASSERT_EQ(episode.observations, after_start) << i;
  }
  // both signs, equally often: 5 standard deviations of a fair coin
  EXPECT_NEAR(positive, kEpisodes / 2.0, 5 * std::sqrt(kEpisodes) / 2);
}

TEST(TMazeTest, InFullTheSignIsSeenEverywhere) {
  TMaze maze(10);
  for (uint64_t seed = 0; seed < 8; ++seed) {
    maze.Reset(seed);
    const std::vector<double> start = Observation(maze);
    EXPECT_EQ(Observation(maze.fully_observed()), start);
    for (int t = 0; t < 11; ++t) maze.Step(std::vector<double>{-1});
    EXPECT_EQ(Observation(maze.fully_observed()), (std::vector<double>{start[TMaze::kSign], 1}));
    EXPECT_EQ(Observation(maze), (std::vector<double>{0, 1}));
  }
}

TEST(TMazeTest, ACloneGoesOnFromTheSameStepWithoutSharingIt) {
  TMaze maze(10);
  maze.Reset(3);
  for (int t = 0; t < 11; ++t) maze.Step(std::vector<double>{0});
  const auto clone = maze.Clone();
  const StepResult right = maze.Step(std::vector<double>{1}), left = clone->Step(std::vector{-1.0});
  EXPECT_TRUE(right.terminated);
  EXPECT_TRUE(left.terminated);
  EXPECT_EQ(right.reward + left.reward, 1);
}

TEST(TMazeTest, RefusesWrongActionsAndStepsBeyondTheEnd) {
  TMaze maze(10);
  EXPECT_THAT([&] { maze.Step(std::vector<double>{NAN}); },
              Throws<std::invalid_argument>(
                  Property(&std::exception::what,
                           HasSubstr("tmaze-10: action: expected finite values, found nan"))));
  EXPECT_THROW(maze.Step(std::vector<double>{0, 0}), std::invalid_argument);
  Play(maze, 0, 0, 1);
  EXPECT_THAT([&] { maze.Step(std::vector<double>{0}); },
              Throws<std::logic_error>(
                  Property(&std::exception::what, HasSubstr("tmaze-10: the episode has ended"))));
}

TEST(TMazeTest, HasNoPhysicsAndIsSolvedOrNot) {
  EXPECT_THAT([] { MakeEnv("tmaze-100", Physics::kGymnasiumV4); },
              Throws<std::invalid_argument>(Property(
                  &std::exception::what,
                  HasSubstr("physics: expected none for tmaze-100, which has no body, found "
                            "gymnasium-v4"))));
  EXPECT_FALSE(MakeEnv("tmaze-100")->spec().score_range);
  EXPECT_EQ(MakeEnv("tmaze-100")->spec().success_return, 1);
}

}  // namespace
}  // namespace cosdt::envs
