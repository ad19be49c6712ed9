#include "agents/decoding/agent_session.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <span>
#include <vector>

#include "agents/models/candidate_critic.h"

namespace cosdt::agents {
namespace {

using testing::ThrowsMessage;

constexpr int64_t kSeenValues = 3, kDoneValues = 2;

// A critic whose Q1 is 1000 + slope (a[0] + normalized observation[0]) and whose Q2 is likewise
// 1001 with another slope.
Checkpoint LinearCritic(float slope, float other_slope) {
  AgentOptions options;
  options.kind = "td3bc";
  options.SetShape(1, 16);
  options.SetSizes(kSeenValues, kDoneValues);
  Checkpoint critic{MakeAgent(options), {}};
  critic.info.normalizer = {.mean = {1, 0, 0}, .std = {2, 1, 1}};
  MlpStack& q = critic.agent->actor_critic()->critics;
  q.parameters().zero_();
  for (const int64_t member : {0, 1}) {
    const float own = member == 0 ? slope : other_slope;
    // ReLU(x + 100) - 100 is x
    q.layers()[0].weight[member][0][0] = 1;
    q.layers()[0].weight[member][kSeenValues][0] = 1;
    q.layers()[0].bias[member][0][0] = 100;
    q.layers()[1].weight[member][0][0] = own;
    q.layers()[1].bias[member][0][0] = 1000.0f + static_cast<float>(member) - 100 * own;
  }
  return critic;
}

Checkpoint LinearCritic(float slope) { return LinearCritic(slope, slope); }

std::vector<envs::Rng> Draws(int count) {
  std::vector<envs::Rng> draws;
  for (int i = 0; i < count; ++i) draws.emplace_back(i);
  return draws;
}

TEST(CandidateCriticTest, SharesAreEvenFromTheTargetToHalfOfIt) {
  const CandidateCritic five(LinearCritic(1), 5), one(LinearCritic(1), 1);
  for (int i = 0; i < 5; ++i) EXPECT_DOUBLE_EQ(five.Share(i), 1 - i / 8.0);
  EXPECT_EQ(one.Share(0), 1);
}

TEST(CandidateCriticTest, ASharpCriticChoosesItsBest) {
  const CandidateCritic critic(LinearCritic(1e4f), 3);
  std::vector<envs::Rng> draws = Draws(2);
  std::vector<float> actions = {0.1f, 1, 0.3f, 2, 0.2f, 3, -0.5f, 4, -0.6f, 5, -0.7f, 6};
  critic.Choose(std::vector<double>(2 * kSeenValues), draws, actions);
  EXPECT_EQ(actions, (std::vector<float>{0.3f, 2, 0.3f, 2, 0.3f, 2, -0.5f, 4, -0.5f, 4, -0.5f, 4}));
}

// The first is 0.5 above the second by the smaller critic; the larger one says the opposite.
TEST(CandidateCriticTest, DrawsFromTheSoftmaxOfTheSmallerCritic) {
  constexpr int kEpisodes = 4000;
  const CandidateCritic critic(LinearCritic(2, -0.1f), 2);
  std::vector<envs::Rng> draws = Draws(kEpisodes);
  std::vector<float> actions;
  for (int i = 0; i < kEpisodes; ++i) actions.insert(actions.end(), {0.5f, 0, 0.25f, 0});
  critic.Choose(std::vector<double>(kEpisodes * kSeenValues), draws, actions);
  const auto first = std::ranges::count(actions, 0.5f) / 2;
  const double expected = 1 / (1 + std::exp(-0.5));
  EXPECT_NEAR(static_cast<double>(first) / kEpisodes, expected, 0.025);  // 3 deviations
}

TEST(CandidateCriticTest, AnEpisodesChoiceDoesNotDependOnOthers) {
  const CandidateCritic critic(LinearCritic(1), 4);
  std::vector<float> together;
  for (int i = 0; i < 40; ++i) together.push_back(std::sin(static_cast<float>(i)));
  std::vector<double> seen;
  for (int i = 0; i < 15; ++i) seen.push_back(std::cos(i));
  const std::vector<float> proposed = together;
  std::vector<envs::Rng> draws = Draws(5);
  critic.Choose(seen, draws, together);
  for (int episode = 0; episode < 5; ++episode) {
    std::vector<float> own(proposed.begin() + 8 * episode, proposed.begin() + 8 * (episode + 1));
    envs::Rng draw(episode);
    critic.Choose(std::span(seen).subspan(3 * episode, 3), {&draw, 1}, own);
    EXPECT_EQ(own, std::vector<float>(together.begin() + 8 * episode,
                                      together.begin() + 8 * (episode + 1)));
  }
}

// With a normalizer, a scale, weights and a return predictor that all matter.
Checkpoint Proposer() {
  torch::manual_seed(3);
  AgentOptions options;
  options.dt.layers = 1;
  options.dt.width = 16;
  options.dt.context = 4;
  options.SetSizes(kSeenValues, kDoneValues);
  Checkpoint checkpoint{MakeAgent(options), {}};
  const torch::NoGradGuard no_grad;
  for (torch::Tensor& p : checkpoint.agent->module().parameters()) p += torch::randn_like(p) * 0.2;
  checkpoint.agent->module().eval();
  checkpoint.info.normalizer = {.mean = {0.5f, -1, 0}, .std = {2, 0.5f, 1}};
  checkpoint.info.return_scale = 50;
  const auto predictor = std::make_shared<ReturnPredictor>(kSeenValues, 1000);
  predictor->network.layers().back().bias.fill_(2);
  checkpoint.info.return_predictor = predictor;
  return checkpoint;
}

std::vector<double> SeenAt(int64_t step, int rows) {
  std::vector<double> seen;
  for (int row = 0; row < rows; ++row) {
    for (int64_t i = 0; i < kSeenValues; ++i) {
      seen.push_back(
          std::sin(0.7 * static_cast<double>(step) + row + 2.0 * static_cast<double>(i)));
    }
  }
  return seen;
}

std::vector<double> AsVector(std::span<const double> values) {
  return {values.begin(), values.end()};
}

TEST(CandidateSessionTest, OneCandidateIsTheAgentItself) {
  const auto critic = std::make_shared<const CandidateCritic>(LinearCritic(1), 1);
  AgentSession with(Proposer(), {.critic = critic}), without(Proposer());
  const std::vector<Target> targets = {100, Target::Auto()};
  with.Reset(targets);
  without.Reset(targets);
  for (int64_t t = 0; t < 7; ++t) {
    const std::vector<double> rewards = {1.5 * static_cast<double>(t), 2};
    EXPECT_EQ(AsVector(with.Act(SeenAt(t, 2), rewards)),
              AsVector(without.Act(SeenAt(t, 2), rewards)));
  }
  EXPECT_EQ(with.RowsAtOnce(), without.RowsAtOnce());
}

// Against a decoder whose rows are told by hand what to ask for and what was done.
TEST(CandidateSessionTest, AllCandidatesGoOnWithTheActionThatTheCriticChose) {
  constexpr int kCandidates = 3;
  const auto critic = std::make_shared<const CandidateCritic>(LinearCritic(1e4f), kCandidates);
  for (const DecodeMode mode : {DecodeMode::kWindow, DecodeMode::kStaggered}) {
    const Checkpoint checkpoint = Proposer();
    AgentSession session(checkpoint, {.decode = mode, .critic = critic});
    session.Reset(std::vector<Target>{120}, std::vector<uint64_t>{1});
    envs::ThreadPool pool(1);
    const DecoderFactory factory(checkpoint.agent, mode, 1000);
    const auto decoder = factory.Make(kCandidates, pool);
    double earned = 0;
    for (int64_t t = 0; t < 9; ++t) {
      const double reward = std::cos(static_cast<double>(t));
      if (t > 0) earned += reward;
      std::vector<float> to_go, seen, proposed(kCandidates * kDoneValues);
      for (const double target : {120, 90, 60}) {
        to_go.push_back(static_cast<float>((target - earned) / 50));
        for (const double x : SeenAt(t, 1)) seen.push_back(static_cast<float>(x));
      }
      checkpoint.info.normalizer.Apply(seen, seen);
      decoder->Decide(to_go, seen, proposed);
      size_t best = 0;
      for (size_t i = 1; i < kCandidates; ++i) {
        if (proposed[i * kDoneValues] > proposed[best * kDoneValues]) best = i;
      }
      std::vector<float> done;
      for (int i = 0; i < kCandidates; ++i) {
        for (int64_t k = 0; k < kDoneValues; ++k) done.push_back(proposed[best * kDoneValues + k]);
      }
      decoder->Act(done);
      const auto found = session.Act(SeenAt(t, 1), reward);
      ASSERT_EQ(found.size(), kDoneValues);
      for (int64_t k = 0; k < kDoneValues; ++k) EXPECT_NEAR(found[k], done[k], 1e-6) << t;
    }
  }
}

TEST(CandidateSessionTest, RowsThatLeaveChangeNoOther) {
  const auto critic = std::make_shared<const CandidateCritic>(LinearCritic(2), 3);
  const std::vector<Target> targets = {100, Target::Auto(), 300};
  const std::vector<uint64_t> seeds = {5, 6, 7};
  AgentSession together(Proposer(), {.threads = 2, .critic = critic});
  together.Reset(targets, seeds);
  std::vector<std::vector<double>> found(3);
  std::vector<int> rows = {0, 1, 2};
  const auto of = [](const std::vector<double>& all, int row, int64_t width) {
    return std::vector<double>(all.begin() + row * width, all.begin() + (row + 1) * width);
  };
  for (int64_t t = 0; t < 8; ++t) {
    if (t == 3) {
      together.Keep(std::vector<int>{1, 2});
      rows = {1, 2};
    }
    std::vector<double> seen;
    for (const int row : rows) {
      const std::vector<double> own = of(SeenAt(t, 3), row, kSeenValues);
      seen.insert(seen.end(), own.begin(), own.end());
    }
    const std::vector<double> actions =
        AsVector(together.Act(seen, std::vector<double>(rows.size(), 0.5)));
    for (size_t i = 0; i < rows.size(); ++i) {
      const std::vector<double> own = of(actions, static_cast<int>(i), kDoneValues);
      found[rows[i]].insert(found[rows[i]].end(), own.begin(), own.end());
    }
  }
  AgentSession alone(Proposer(), {.critic = critic});
  for (const int row : {0, 1, 2}) {
    alone.Reset({&targets[row], 1}, {&seeds[row], 1});
    std::vector<double> expected;
    for (int64_t t = 0; t < (row == 0 ? 3 : 8); ++t) {
      const auto actions = alone.Act(of(SeenAt(t, 3), row, kSeenValues), 0.5);
      expected.insert(expected.end(), actions.begin(), actions.end());
    }
    EXPECT_EQ(found[row], expected) << row;
  }
}

TEST(CandidateSessionTest, EveryEpisodeNeedsAStream) {
  const auto critic = std::make_shared<const CandidateCritic>(LinearCritic(1), 2);
  AgentSession session(Proposer(), {.critic = critic});
  EXPECT_THAT([&] { session.Reset(100); },
              ThrowsMessage<std::invalid_argument>("agent: seeds: expected 1 values, found 0"));
}

TEST(CandidateCriticTest, RefusesWhatCannotBeChosen) {
  EXPECT_THAT([] { CandidateCritic(LinearCritic(1), 0); },
              ThrowsMessage<std::invalid_argument>("candidates: expected at least 1, found 0"));
  AgentOptions options;
  options.SetSizes(kSeenValues, kDoneValues);
  const Checkpoint imitator{MakeAgent(options), {}};
  EXPECT_THAT([&] { CandidateCritic(imitator, 2); },
              ThrowsMessage<std::invalid_argument>("critic: expected an agent of td3bc, rebrac or "
                                                   "iql, found Decision Transformer"));
  const CandidateCritic critic(LinearCritic(1), 2);
  critic.ExpectFits(options);
  options.SetSizes(4, kDoneValues);
  EXPECT_THAT([&] { critic.ExpectFits(options); },
              ThrowsMessage<std::invalid_argument>("critic: expected one for 4 observations and 2 "
                                                   "actions, found one for 3 observations and 2 "
                                                   "actions"));
  options.SetSizes(kSeenValues, 1, 4);
  EXPECT_THAT([&] { critic.ExpectFits(options); },
              ThrowsMessage<std::invalid_argument>("candidates: expected an agent with targets and "
                                                   "continuous actions, found Discrete(4)"));
  options.kind = "bc";
  options.SetSizes(kSeenValues, kDoneValues);
  EXPECT_THAT([&] { critic.ExpectFits(options); },
              ThrowsMessage<std::invalid_argument>("candidates: expected an agent with targets and "
                                                   "continuous actions, found behaviour cloning"));
  const CandidateCritic broken(LinearCritic(std::numeric_limits<float>::infinity()), 2);
  std::vector<envs::Rng> draws = Draws(1);
  std::vector<float> actions(4);
  EXPECT_THROW(broken.Choose(std::vector<double>(kSeenValues), draws, actions), std::runtime_error);
}

}  // namespace
}  // namespace cosdt::agents
