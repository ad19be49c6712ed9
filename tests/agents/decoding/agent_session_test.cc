#include "agents/decoding/agent_session.h"

#include <ATen/CPUGeneratorImpl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <set>
#include <string>
#include <vector>

namespace cosdt::agents {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

constexpr int64_t kSeen = 3, kDone = 2;
constexpr double kReturnScale = 50;

// With a normaliser, a scale and weights that all affect the actions.
Checkpoint SmallCheckpoint(const std::string& kind = "dt") {
  torch::manual_seed(3);
  AgentOptions options;
  options.kind = kind;
  options.dt.layers = 1;
  options.dt.width = 16;
  options.dt.context = 4;
  options.SetSizes(kSeen, kDone);
  Checkpoint checkpoint{MakeAgent(options), {}};
  const torch::NoGradGuard no_grad;
  for (torch::Tensor& p : checkpoint.agent->module().parameters()) p += torch::randn_like(p) * 0.2;
  checkpoint.agent->module().eval();
  checkpoint.info.normalizer = {.mean = {0.5f, -1, 0}, .std = {2, 0.5f, 1}};
  checkpoint.info.return_scale = kReturnScale;
  return checkpoint;
}

// Observations and rewards of an episode, which no environment made.
double Observation(int row, int64_t step, int64_t i) {
  return std::sin(0.7 * static_cast<double>(step) + row + 2.0 * static_cast<double>(i));
}
double Reward(int row, int64_t step) { return 3 * std::cos(static_cast<double>(step) + row); }

std::vector<double> Observations(const std::vector<int>& rows, int64_t step) {
  std::vector<double> observations;
  for (const int row : rows) {
    for (int64_t i = 0; i < kSeen; ++i) observations.push_back(Observation(row, step, i));
  }
  return observations;
}

std::vector<double> RewardsBefore(const std::vector<int>& rows, int64_t step) {
  std::vector<double> rewards;
  for (const int row : rows) rewards.push_back(Reward(row, step - 1));
  return rewards;
}

TEST(AgentSessionTest, ActsAsTheModelDoesOnInputsPreparedByHand) {
  const Checkpoint checkpoint = SmallCheckpoint();
  AgentSession session(checkpoint);
  const torch::NoGradGuard no_grad;
  constexpr int64_t kSteps = 4;  // the context
  const double target = 120;
  session.Reset(target);
  torch::Tensor to_go = torch::zeros({1, kSteps}), seen = torch::zeros({1, kSteps, kSeen}),
                done = torch::zeros({1, kSteps, kDone});
  double rewards = 0;
  for (int64_t t = 0; t < kSteps; ++t) {
    to_go[0][t] = (target - rewards) / kReturnScale;
    for (int64_t i = 0; i < kSeen; ++i) {
      const auto& [mean, std] = checkpoint.info.normalizer;
      seen[0][t][i] = (Observation(0, t, i) - mean[i]) / std[i];
    }
    const auto actions = session.Act(Observations({0}, t), t == 0 ? 1e9 : Reward(0, t - 1));
    const auto cut = [&](const torch::Tensor& x) { return x.narrow(1, 0, t + 1); };
    const torch::Tensor expected =
        checkpoint.agent
            ->Predict({cut(to_go), cut(seen), cut(done), torch::arange(t + 1).unsqueeze(0), {}})
            .select(1, -1);
    for (int64_t i = 0; i < kDone; ++i) {
      EXPECT_NEAR(actions[i], expected[0][i].item<double>(), 1e-5) << t;
      done[0][t][i] = actions[i];
    }
    rewards += Reward(0, t);
  }
}

TEST(AgentSessionTest, RowsThatLeaveChangeNoOther) {
  for (const DecodeMode mode : {DecodeMode::kWindow, DecodeMode::kStaggered}) {
    AgentSession together(SmallCheckpoint(), {.decode = mode, .threads = 2});
    together.Reset(std::vector<Target>{100, 200, 300});
    std::vector<std::vector<double>> found(3);
    std::vector<int> rows = {0, 1, 2};
    for (int64_t t = 0; t < 9; ++t) {
      if (t == 3) {
        together.Keep(std::vector<int>{0, 2});
        rows = {0, 2};
      }
      const auto actions = together.Act(Observations(rows, t), RewardsBefore(rows, t));
      for (size_t i = 0; i < rows.size(); ++i) {
        const auto own = actions.subspan(i * kDone, kDone);
        found[rows[i]].insert(found[rows[i]].end(), own.begin(), own.end());
      }
    }
    AgentSession alone(SmallCheckpoint(), {.decode = mode});
    for (const int row : {0, 1, 2}) {
      alone.Reset(100 * (row + 1));
      std::vector<double> expected;
      for (int64_t t = 0; t < (row == 1 ? 3 : 9); ++t) {
        const auto actions = alone.Act(Observations({row}, t), Reward(row, t - 1));
        expected.insert(expected.end(), actions.begin(), actions.end());
      }
      EXPECT_EQ(found[row], expected) << row;
    }
  }
}

TEST(AgentSessionTest, BehaviourCloningDoesNotReadTheTarget) {
  AgentSession session(SmallCheckpoint("bc"));
  session.Reset(1);
  const auto first = session.Act(Observations({0}, 0), 0);
  const std::vector<double> expected(first.begin(), first.end());
  session.Reset(-700);
  const auto again = session.Act(Observations({0}, 0), 0);
  EXPECT_EQ(std::vector<double>(again.begin(), again.end()), expected);
}

// With a predictor whose weights all matter.
Checkpoint PredictingCheckpoint() {
  Checkpoint checkpoint = SmallCheckpoint();
  const auto predictor = std::make_shared<ReturnPredictor>(kSeen, 6);
  predictor->network.Initialize(at::make_generator<at::CPUGeneratorImpl>(8));
  predictor->network.parameters().mul_(3);
  checkpoint.info.return_predictor = predictor;
  return checkpoint;
}

// In LibTorch's operations, of a normalized observation at a timestep below 6.
double PredictedReturn(const ReturnPredictor& predictor, const torch::Tensor& seen, int64_t step) {
  const auto weights = predictor.module().named_parameters();
  const auto layer = [&](const torch::Tensor& x, const std::string& i) {
    return torch::matmul(weights["layers." + i + ".weight"], x) + weights["layers." + i + ".bias"];
  };
  torch::Tensor x = torch::cat({seen, torch::full({1}, static_cast<double>(step) / 6)});
  for (const char* const i : {"0", "1"}) x = torch::relu(layer(x, i));
  return layer(x, "2").item<double>();
}

TEST(AgentSessionTest, AutoAsksForThePredictedReturnOfEachStep) {
  constexpr int64_t kSteps = 9;
  const Checkpoint checkpoint = PredictingCheckpoint();
  const auto& [mean, std] = checkpoint.info.normalizer;
  for (const DecodeMode mode : {DecodeMode::kWindow, DecodeMode::kStaggered}) {
    // an agent that is told each return by what lowers its target
    AgentSession told(checkpoint, {.decode = mode}), session(checkpoint, {.decode = mode});
    session.Reset(Target::Auto());
    double before = 0;
    std::set<double> predictions;
    for (int64_t t = 0; t < kSteps; ++t) {
      torch::Tensor seen = torch::zeros(kSeen);
      for (int64_t i = 0; i < kSeen; ++i) seen[i] = (Observation(0, t, i) - mean[i]) / std[i];
      const double predicted = kReturnScale * PredictedReturn(*checkpoint.info.return_predictor,
                                                              seen, std::min<int64_t>(t, 5));
      if (t == 0) told.Reset(predicted);
      const auto expected = told.Act(Observations({0}, t), before - predicted);
      const auto found = session.Act(Observations({0}, t), Reward(0, t));
      for (int64_t i = 0; i < kDone; ++i) EXPECT_NEAR(found[i], expected[i], 1e-5) << t;
      before = predicted;
      predictions.insert(predicted);
    }
    EXPECT_EQ(predictions.size(), kSteps);
  }
}

TEST(AgentSessionTest, RowsAskByAutoOrByNumbersSideBySide) {
  const std::vector<Target> targets = {Target::Auto(), 200, Target::Auto(), 300};
  AgentSession together(PredictingCheckpoint(), {.threads = 2});
  together.Reset(targets);
  std::vector<std::vector<double>> found(4);
  std::vector<int> rows = {0, 1, 2, 3};
  for (int64_t t = 0; t < 8; ++t) {
    if (t == 3) {
      together.Keep(std::vector<int>{1, 2, 3});
      rows = {1, 2, 3};
    }
    const auto actions = together.Act(Observations(rows, t), RewardsBefore(rows, t));
    for (size_t i = 0; i < rows.size(); ++i) {
      const auto own = actions.subspan(i * kDone, kDone);
      found[rows[i]].insert(found[rows[i]].end(), own.begin(), own.end());
    }
  }
  AgentSession alone(PredictingCheckpoint());
  for (const int row : {0, 1, 2, 3}) {
    alone.Reset(targets[row]);
    std::vector<double> expected;
    for (int64_t t = 0; t < (row == 0 ? 3 : 8); ++t) {
      const auto actions = alone.Act(Observations({row}, t), Reward(row, t - 1));
      expected.insert(expected.end(), actions.begin(), actions.end());
    }
    EXPECT_EQ(found[row], expected) << row;
  }
}

TEST(AgentSessionTest, RefusesAutoWithoutAPredictor) {
  AgentSession session(SmallCheckpoint());
  EXPECT_THAT(
      [&] { session.Reset(Target::Auto()); },
      ThrowsMessage<std::invalid_argument>(
          "targets: expected numbers for an agent that does not predict returns, found auto "
          "(cosdt train --targets auto makes one that does)"));
}

TEST(AgentSessionTest, RefusesOtherSizesAndActBeforeReset) {
  AgentSession session(SmallCheckpoint());
  EXPECT_THROW(session.Act(Observations({0}, 0), 0), std::logic_error);
  session.Reset(std::vector<Target>{100, 200});
  EXPECT_THAT([&] { session.Act(Observations({0}, 0), 0); },
              ThrowsMessage<std::invalid_argument>(
                  HasSubstr("agent: observations: expected 6 values, found 3")));
  session.Act(Observations({0, 1}, 0), RewardsBefore({0, 1}, 0));
  EXPECT_THAT([&] { session.Act(Observations({0, 1}, 1), 0); },
              ThrowsMessage<std::invalid_argument>(
                  HasSubstr("agent: rewards: expected 2 values, found 1")));
}

// Behaviour cloning whose logits are 0, 1 and 2 for whatever it sees.
Checkpoint ThreeChoices() {
  AgentOptions options;
  options.kind = "bc";
  options.SetSizes(kSeen, 1, 3);
  Checkpoint checkpoint{MakeAgent(options), {}};
  const torch::NoGradGuard no_grad;
  for (torch::Tensor& p : checkpoint.agent->module().parameters()) p.zero_();
  checkpoint.agent->module().parameters().back().copy_(torch::tensor({0.f, 1.f, 2.f}));
  checkpoint.agent->module().eval();
  checkpoint.info.normalizer = {.mean = {0, 0, 0}, .std = {1, 1, 1}};
  return checkpoint;
}

TEST(AgentSessionTest, TakesTheMostLikelyDiscreteAction) {
  AgentSession session(ThreeChoices());
  session.Reset(std::vector<Target>{0, 0});
  EXPECT_THAT(session.Act(Observations({0, 1}, 0), {}), testing::ElementsAre(2, 2));
}

TEST(AgentSessionTest, DrawsDiscreteActionsFromTheirSoftmax) {
  AgentSession session(ThreeChoices());
  std::vector<uint64_t> seeds(500);
  std::vector<int> rows(500);
  for (int i = 0; i < 500; ++i) seeds[i] = rows[i] = i;
  session.Reset(std::vector<Target>(500, 0), seeds);
  std::vector<int> counts(3);
  for (int64_t t = 0; t < 100; ++t) {
    for (const double a : session.Act(Observations(rows, t), std::vector<double>(500))) {
      ++counts[static_cast<size_t>(a)];
    }
  }
  const double sum = 1 + std::exp(1) + std::exp(2);
  // 50,000 draws: five standard deviations are below 0.012
  for (int i = 0; i < 3; ++i) EXPECT_NEAR(counts[i] / 50'000.0, std::exp(i) / sum, 0.012) << i;
}

TEST(AgentSessionTest, ARowDrawsFromItsOwnStream) {
  AgentSession together(ThreeChoices()), alone(ThreeChoices());
  together.Reset(std::vector<Target>{0, 0, 0}, std::vector<uint64_t>{7, 8, 9});
  alone.Reset(std::vector<Target>{0}, std::vector<uint64_t>{9});
  std::vector<int> rows = {0, 1, 2};
  for (int64_t t = 0; t < 60; ++t) {
    if (t == 20) {
      together.Keep(std::vector<int>{0, 2});
      rows = {0, 2};
    }
    const auto all = together.Act(Observations(rows, t), RewardsBefore(rows, t));
    const double last = all.back();
    EXPECT_EQ(alone.Act(Observations({2}, t), RewardsBefore({2}, t))[0], last) << t;
  }
}

TEST(AgentSessionTest, RefusesSeedsThatDoNotFit) {
  AgentSession session(ThreeChoices());
  EXPECT_THAT(
      [&] { session.Reset(std::vector<Target>{0, 0}, std::vector<uint64_t>{1}); },
      ThrowsMessage<std::invalid_argument>(HasSubstr("agent: seeds: expected 2 values, found 1")));
  AgentSession continuous(SmallCheckpoint());
  EXPECT_THAT(
      [&] { continuous.Reset(std::vector<Target>{0}, std::vector<uint64_t>{1}); },
      ThrowsMessage<std::invalid_argument>(HasSubstr("agent: seeds: expected 0 values, found 1")));
}

}  // namespace
}  // namespace cosdt::agents
