#include "agents/rollout/agent_rollout.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "agents/decoding/agent_session.h"
#include "envs/registry.h"

namespace cosdt::agents {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

// A small agent for hopper whose actions are far from 0.
Checkpoint HopperAgent(const std::string& kind = "dt") {
  torch::manual_seed(3);
  AgentOptions options;
  options.kind = kind;
  options.SetSizes(11, 3);
  options.dt.layers = 2;
  options.dt.width = 16;
  options.dt.context = 4;
  Checkpoint checkpoint{MakeAgent(options), {}};
  {
    const torch::NoGradGuard no_grad;
    for (torch::Tensor& p : checkpoint.agent->module().parameters())
      p += torch::randn_like(p) * 0.2;
  }
  checkpoint.agent->module().eval();
  checkpoint.info.normalizer.mean.assign(11, 0.1f);
  checkpoint.info.normalizer.std.assign(11, 0.7f);
  checkpoint.info.env = "hopper";
  return checkpoint;
}

std::vector<RolloutResult> Play(const AgentRolloutOptions& options,
                                const std::string& kind = "dt") {
  return RolloutAgent(*envs::MakeEnv("hopper"), HopperAgent(kind), options);
}

TEST(AgentRolloutTest, AnEpisodeDependsOnItsTargetSeedAndNumberAlone) {
  const auto many = Play({.targets = {3600, 1800}, .episodes = 150, .seed = 5, .threads = 3});
  const auto few = Play({.targets = {1800}, .episodes = 3, .seed = 5});
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(many[1].returns[i], few[0].returns[i]);
    EXPECT_EQ(many[1].lengths[i], few[0].lengths[i]);
  }
  EXPECT_NE(many[0].returns, many[1].returns);
  EXPECT_NE(many[0].returns[0], many[0].returns[1]);
  EXPECT_EQ(std::ranges::count(many[1].lengths, 0), 0);
  EXPECT_NE(Play({.targets = {1800}, .episodes = 3, .seed = 6})[0].returns, few[0].returns);
}

TEST(AgentRolloutTest, GymsSeedingDealsEveryTargetTheSameStatesInOrder) {
  // more than one wave, of which the first ends among the second target's episodes
  AgentRolloutOptions options{
      .targets = {2000, 1000}, .episodes = 8, .seed = 9, .seeding = envs::Seeding::kGym};
  std::vector<double> first;
  options.watch = [&](const envs::Env& env) {
    if (!first.empty()) return;
    first.resize(11);
    env.Observe(first);
  };
  const auto both = Play(options);
  const auto env = envs::MakeEnv("hopper");
  envs::GymNoise noise(9);
  env->ResetFrom(noise, 0);
  std::vector<double> expected(11);
  env->Observe(expected);
  EXPECT_EQ(first, expected);
  options.targets = {1000};
  const auto alone = Play(options);
  EXPECT_EQ(both[1].returns, alone[0].returns);
  options.seeding = envs::Seeding::kStreams;
  EXPECT_NE(Play(options)[0].returns, alone[0].returns);
}

TEST(AgentRolloutTest, WatchSeesTheFirstTargetsFirstEpisode) {
  int seen = 0;
  const auto results =
      Play({.targets = {3600, 1800}, .episodes = 2, .watch = [&](const envs::Env&) { ++seen; }});
  EXPECT_EQ(seen, results[0].lengths[0] + 1);
}

TEST(AgentRolloutTest, BehaviourCloningHasNoTargets) {
  const auto results = Play({.episodes = 2}, "bc");
  ASSERT_EQ(results.size(), 1u);
  EXPECT_EQ(results[0].returns.size(), 2u);
  EXPECT_THAT([] { Play({.targets = {1.0, 2.0}}, "bc"); },
              ThrowsMessage<std::invalid_argument>(
                  "targets: expected none for behaviour cloning, found 2"));
}

TEST(AgentRolloutTest, RefusesWhatDoesNotFit) {
  EXPECT_THAT([] { Play({}); },
              ThrowsMessage<std::invalid_argument>("targets: expected at least one, found none"));
  EXPECT_THAT([] { Play({.targets = {NAN}}); },
              ThrowsMessage<std::invalid_argument>(HasSubstr("finite")));
  EXPECT_THAT([] { Play({.targets = {1}, .episodes = 0}); },
              ThrowsMessage<std::invalid_argument>(HasSubstr("episodes")));
  EXPECT_THAT(
      [] {
        RolloutAgent(*envs::MakeEnv("halfcheetah"), HopperAgent(), {.targets = {1}, .episodes = 1});
      },
      ThrowsMessage<std::invalid_argument>(
          "expected an agent for the 17 observations and 6 actions of halfcheetah, found one for "
          "11 observations and 3 actions"));
}

// The loop that a program of one's own writes (agents/README.md).
TEST(AgentRolloutTest, PlaysTheEpisodesThatASessionPlays) {
  const std::string file =
      testing::TempDir() + "/cosdt_session_" + std::to_string(getpid()) + ".safetensors";
  const Checkpoint checkpoint = HopperAgent();
  WriteCheckpoint(file, *checkpoint.agent, checkpoint.info);
  const auto env = envs::MakeEnv("hopper");
  for (const DecodeMode mode : {DecodeMode::kWindow, DecodeMode::kStaggered}) {
    const auto expected = RolloutAgent(
        *env, checkpoint, {.targets = {2000}, .episodes = 2, .seed = 9, .decode = mode});
    AgentSession agent(file, {.decode = mode});
    for (int episode = 0; episode < 2; ++episode) {
      env->Reset(envs::StreamSeed(9, episode));
      agent.Reset(2000);
      std::vector<double> observation(11);
      double sum = 0;
      for (envs::StepResult step; !step.terminated && !step.truncated; sum += step.reward) {
        env->Observe(observation);
        step = env->Step(agent.Act(observation, step.reward));
      }
      EXPECT_EQ(sum, expected[0].returns[episode]);
    }
  }
  EXPECT_EQ(AgentSession(file).info().env, "hopper");
  std::filesystem::remove(file);
}

// A random agent for a game of cards, whose suits it names.
Checkpoint CardPlayer() {
  torch::manual_seed(4);
  const envs::EnvSpec spec = envs::MakeEnv("popgym-repeat-first-easy")->spec();
  AgentOptions options;
  options.SetSizes(spec.observation_size, spec.action_size, spec.discrete_actions);
  options.dt.layers = 1;
  options.dt.width = 16;
  options.dt.context = 4;
  Checkpoint checkpoint{MakeAgent(options), {}};
  checkpoint.agent->module().eval();
  checkpoint.info.normalizer.mean.assign(spec.observation_size, 0);
  checkpoint.info.normalizer.std.assign(spec.observation_size, 1);
  return checkpoint;
}

TEST(AgentRolloutTest, DrawnActionsDependOnSeedAndEpisodeAlone) {
  const auto env = envs::MakeEnv("popgym-repeat-first-easy");
  const Checkpoint agent = CardPlayer();
  const auto play = [&](int episodes, int threads, uint64_t seed, bool sample) {
    return RolloutAgent(*env, agent,
                        {.targets = {1},
                         .episodes = episodes,
                         .seed = seed,
                         .threads = threads,
                         .sample_actions = sample})[0]
        .returns;
  };
  const auto many = play(40, 3, 5, true), few = play(6, 1, 5, true);
  EXPECT_TRUE(std::equal(few.begin(), few.end(), many.begin()));
  EXPECT_NE(play(6, 1, 6, true), few);
  EXPECT_NE(play(6, 1, 5, false), few);
}

TEST(AgentRolloutTest, RefusesOtherKindsOfActions) {
  EXPECT_THAT([&] { RolloutAgent(*envs::MakeEnv("hopper"), CardPlayer(), {.targets = {1}}); },
              ThrowsMessage<std::invalid_argument>(HasSubstr("Discrete(4) actions")));
  EXPECT_THAT([&] { Play({.targets = {1}, .sample_actions = true}); },
              ThrowsMessage<std::invalid_argument>(HasSubstr(
                  "sample-actions: expected an agent with discrete actions, found 3 continuous")));
}

}  // namespace
}  // namespace cosdt::agents
