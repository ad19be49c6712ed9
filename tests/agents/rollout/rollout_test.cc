#include "agents/rollout/rollout.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "envs/registry.h"

namespace cosdt::agents {
namespace {

RolloutResult Play(const std::string& name, int episodes, int threads, uint64_t seed = 0) {
  const auto env = envs::MakeEnv(name);
  const auto policy = MakeRandomPolicy(env->spec());
  return Rollout(*env, *policy, {.episodes = episodes, .seed = seed, .threads = threads});
}

TEST(RolloutTest, EpisodesAreTheSameOnAnyNumberOfThreads) {
  const RolloutResult one = Play("hopper", 40, 1);
  for (const int threads : {2, 8}) {
    const RolloutResult more = Play("hopper", 40, threads);
    EXPECT_EQ(more.returns, one.returns);
    EXPECT_EQ(more.lengths, one.lengths);
  }
}

TEST(RolloutTest, AnEpisodeDoesNotDependOnHowManyArePlayed) {
  // 600 are more than are stepped at once, so that rows are used again
  const RolloutResult many = Play("hopper", 600, 2), few = Play("hopper", 10, 1);
  EXPECT_TRUE(std::equal(few.returns.begin(), few.returns.end(), many.returns.begin()));
  EXPECT_EQ(many.returns.size(), 600u);
  EXPECT_EQ(std::ranges::count(many.lengths, 0), 0);
}

// The last eight of 40 episodes on one thread take the rows of others, in the order in which those
// end.
TEST(RolloutTest, GymsSeedingDealsTheResetsOfOneEnvironmentInOrder) {
  const auto env = envs::MakeEnv("hopper");
  const auto policy = MakeZeroPolicy(env->spec());
  const RolloutOptions options{
      .episodes = 40, .seed = 4, .seeding = envs::Seeding::kGym, .threads = 1};
  const RolloutResult result = Rollout(*env, *policy, options);
  envs::GymNoise noise(4);
  for (int episode = 0; episode < 40; ++episode) {
    env->ResetFrom(noise, 0);
    double sum = 0;
    int length = 0;
    for (envs::StepResult step; !step.terminated && !step.truncated; sum += step.reward, ++length) {
      step = env->Step(std::vector<double>(3));
    }
    EXPECT_EQ(result.returns[episode], sum) << episode;
    EXPECT_EQ(result.lengths[episode], length) << episode;
  }
}

TEST(RolloutTest, SeedsAndEpisodesDiffer) {
  const RolloutResult a = Play("hopper", 20, 1, 0), b = Play("hopper", 20, 1, 1);
  std::vector<double> returns = a.returns;
  returns.insert(returns.end(), b.returns.begin(), b.returns.end());
  std::ranges::sort(returns);
  EXPECT_EQ(std::ranges::adjacent_find(returns), returns.end());
}

TEST(RolloutTest, CountsWholeEpisodes) {
  const RolloutResult result = Play("halfcheetah", 2, 2);
  EXPECT_EQ(result.lengths, (std::vector<int>{1000, 1000}));
  EXPECT_EQ(result.diverged, 0);
}

TEST(RolloutTest, WatchSeesEveryStateOfEpisode0) {
  const auto env = envs::MakeEnv("hopper");
  const auto policy = MakeZeroPolicy(env->spec());
  int seen = 0;
  const RolloutResult result =
      Rollout(*env, *policy,
              {.episodes = 3, .seed = 0, .threads = 1, .watch = [&](const envs::Env&) { ++seen; }});
  EXPECT_EQ(seen, result.lengths[0] + 1);
}

// An environment whose simulator breaks at step 3 of every episode.
class Breaking : public envs::Env {
 public:
  const envs::EnvSpec& spec() const override { return spec_; }
  std::unique_ptr<Env> Clone() const override { return std::make_unique<Breaking>(*this); }
  void Reset(uint64_t) override { steps_ = 0; }
  envs::StepResult Step(std::span<const double>) override {
    return {.reward = 1, .terminated = ++steps_ == 3};
  }
  void Observe(std::span<double> observation) const override { observation[0] = steps_; }
  bool diverged() const override { return steps_ == 3; }

 private:
  envs::EnvSpec spec_{.name = "breaking", .observation_size = 1, .action_size = 1, .horizon = 10};
  int steps_ = 0;
};

TEST(RolloutTest, CountsDivergedEpisodes) {
  const Breaking env;
  const auto policy = MakeZeroPolicy(env.spec());
  const RolloutResult result = Rollout(env, *policy, {.episodes = 300, .seed = 0, .threads = 2});
  EXPECT_EQ(result.diverged, 300);
  EXPECT_EQ(result.returns, std::vector<double>(300, 3.0));
}

TEST(RolloutTest, RefusesNoEpisodes) { EXPECT_THROW(Play("hopper", 0, 1), std::invalid_argument); }

}  // namespace
}  // namespace cosdt::agents
