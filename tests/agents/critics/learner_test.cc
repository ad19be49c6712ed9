#include "agents/critics/learner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "agents/critics/iql_learner.h"
#include "tests/agents/critics/golden_critics.h"
#include "tests/threads.h"

namespace cosdt::agents {
namespace {

using golden::kCriticActions;
using golden::kCriticBatch;
using golden::kCriticObservations;
using ::testing::FloatNear;
using ::testing::Pointwise;

constexpr float kTolerance = 1e-5f;
constexpr double kAnyQ = 1e9;

std::vector<float> Values(const torch::Tensor& tensor) {
  const torch::Tensor flat = tensor.contiguous().flatten();
  return {flat.const_data_ptr<float>(), flat.const_data_ptr<float>() + flat.numel()};
}

// All parameters in PyTorch's order.
std::vector<float> Parameters(const torch::nn::Module& module) {
  std::vector<float> all;
  for (const torch::Tensor& p : module.parameters()) {
    const std::vector<float> values = Values(p);
    all.insert(all.end(), values.begin(), values.end());
  }
  return all;
}

void SetParameters(torch::nn::Module& module, const std::vector<float>& values) {
  const torch::Tensor flat = torch::tensor(values);
  int64_t offset = 0;
  for (torch::Tensor& p : module.parameters()) {
    p.copy_(flat.narrow(0, offset, p.numel()).view(p.sizes()));
    offset += p.numel();
  }
  ASSERT_EQ(offset, flat.numel());
}

// A stack's layers, or their gradients, in PyTorch's order.
std::vector<float> InOrder(const MlpStack::Layers& layers) {
  std::vector<float> all;
  const auto add = [&](const torch::Tensor& t) {
    const std::vector<float> values = Values(t);
    all.insert(all.end(), values.begin(), values.end());
  };
  for (int64_t member = 0; member < layers[0].weight.size(0); ++member) {
    for (size_t i = 0; i < layers.size(); ++i) {
      const torch::Tensor weight = layers[i].weight[member];
      add(i + 1 < layers.size() ? weight.t() : weight);
      add(layers[i].bias[member]);
    }
    for (const MlpStack::Layer& layer : layers) {
      if (!layer.scale.defined()) continue;
      add(layer.scale[member]);
      add(layer.shift[member]);
    }
  }
  return all;
}

AgentOptions GoldenAgent(const std::string& kind) {
  AgentOptions options;
  options.kind = kind;
  ForEachKind(options, [](auto& own) { own.width = golden::kCriticHidden; });
  options.rebrac.actor_bc_coef = 0.1;
  options.rebrac.critic_bc_coef = 0.5;
  options.SetSizes(kCriticObservations, kCriticActions);
  return options;
}

void GoldenBatch(TransitionBatch& batch) {
  batch.Require(kCriticBatch, kCriticObservations, kCriticActions);
  constexpr int kPair = kCriticObservations + kCriticActions;
  for (int64_t i = 0; i < kCriticBatch; ++i) {
    const auto copy = [&](const std::vector<float>& from, int width, float* to) {
      std::copy_n(from.begin() + i * width, width, to);
    };
    float* const pair = batch.pairs.data() + i * kPair;
    copy(golden::kCriticObservationRows, kCriticObservations, pair);
    copy(golden::kCriticActionRows, kCriticActions, pair + kCriticObservations);
    copy(golden::kCriticNextObservationRows, kCriticObservations,
         batch.next_pairs.data() + i * kPair);
    copy(golden::kCriticNextActionRows, kCriticActions,
         batch.next_actions.data() + i * kCriticActions);
    batch.rewards.data()[i] = golden::kCriticRewards[i];
    batch.discounts.data()[i] = static_cast<float>(0.99 * (1 - golden::kCriticTerminals[i]));
  }
}

torch::Tensor StateOf(const CriticLearner& learner, const std::string& name) {
  for (const auto& [key, tensor] : learner.State()) {
    if (key == name) return tensor;
  }
  return {};
}

// What the golden header has of an agent.
struct Golden {
  AgentOptions options;
  const std::vector<float>&before, &losses, &critic_gradients, &actor_gradients, &after, &slow;
  int64_t actor_update;  // whose gradients are there, from 0
};

std::vector<Golden> AllGolden() {
  using namespace golden;
  AgentOptions deterministic = GoldenAgent("iql");
  deterministic.iql.deterministic = true;
  deterministic.iql.expectile = 0.6;
  deterministic.iql.beta = 20;
  deterministic.iql.tau = 0.001;
  return {
      {GoldenAgent("td3bc"), kTd3Bc, kTd3BcLosses, kTd3BcCriticGradients, kTd3BcActorGradients,
       kTd3BcAfter, kTd3BcSlowCritics, 1},
      {GoldenAgent("rebrac"), kRebrac, kRebracLosses, kRebracCriticGradients, kRebracActorGradients,
       kRebracAfter, kRebracSlowCritics, 1},
      {GoldenAgent("iql"), kIql, kIqlLosses, kIqlCriticGradients, kIqlActorGradients, kIqlAfter,
       kIqlSlowCritics, 0},
      {deterministic, kIqlDeterministic, kIqlDeterministicLosses, kIqlDeterministicCriticGradients,
       kIqlDeterministicActorGradients, kIqlDeterministicAfter, kIqlDeterministicSlowCritics, 0}};
}

TEST(CriticLearnerTest, LossesGradientsAndUpdatesAreThoseOfPyTorch) {
  for (const Golden& expected : AllGolden()) {
    SCOPED_TRACE(expected.options.name() + (expected.options.iql.deterministic ? ", too" : ""));
    const std::shared_ptr<Agent> agent = MakeAgent(expected.options);
    ActorCritic& networks = *agent->actor_critic();
    SetParameters(networks, expected.before);
    BatchShare share(nullptr, kCriticBatch);
    const std::unique_ptr<CriticLearner> learner = MakeCriticLearner(*agent, share);
    TransitionBatch batch;
    std::vector<float> losses;
    for (int64_t update = 0; update < golden::kCriticUpdates; ++update) {
      GoldenBatch(batch);
      constexpr int64_t kNoise = kCriticBatch * kCriticActions;
      const CriticLosses found =
          learner->Update(batch, std::span(golden::kCriticNoise).subspan(update * kNoise, kNoise),
                          {golden::kCriticLr, golden::kCriticLr}, kAnyQ);
      for (const double loss : {found.critic, found.actor.value_or(0), found.q}) {
        losses.push_back(static_cast<float>(loss));
      }
      if (found.value) losses.push_back(static_cast<float>(*found.value));
      if (update == 0) {
        EXPECT_THAT(InOrder(networks.critics.layer_gradients()),
                    Pointwise(FloatNear(kTolerance), expected.critic_gradients));
      }
      if (update == expected.actor_update) {
        EXPECT_THAT(InOrder(networks.actor.layer_gradients()),
                    Pointwise(FloatNear(kTolerance), expected.actor_gradients));
      }
    }
    EXPECT_THAT(losses, Pointwise(FloatNear(kTolerance), expected.losses));
    EXPECT_THAT(Parameters(networks), Pointwise(FloatNear(kTolerance), expected.after));
    MlpStack slow = networks.critics.SameShape();
    slow.parameters().copy_(StateOf(*learner, "slow_critics"));
    EXPECT_THAT(InOrder(slow.layers()), Pointwise(FloatNear(kTolerance / 100), expected.slow));
  }
}

TEST(CriticLearnerTest, TheModulesParametersAreTheNetworksOwn) {
  const std::shared_ptr<Agent> agent = MakeAgent(GoldenAgent("rebrac"));
  const auto parameters = agent->module().named_parameters();
  for (const char* name :
       {"actor.layers.0.weight", "critics.0.layers.3.bias", "critics.1.norms.2.weight"}) {
    ASSERT_TRUE(parameters.contains(name)) << name;
  }
  EXPECT_EQ(parameters["actor.layers.0.weight"].sizes(), (std::vector<int64_t>{16, 5}));
  const torch::Tensor observation = torch::randn({1, 5});
  Batch batch{};
  batch.observations = observation;
  const torch::Tensor before = agent->Predict(batch);
  agent->actor_critic()->actor.parameters().mul_(2);
  const torch::Tensor after = agent->Predict(batch);
  EXPECT_FALSE(torch::equal(before, after));
  float output[2];
  kernels::Floats memory;
  const MlpStack& actor = agent->actor_critic()->actor;
  actor.Forward(0, {observation.data_ptr<float>(), 5}, 1, actor.HiddenIn(memory, 1), {output, 2});
  for (const int64_t i : {0, 1}) {
    EXPECT_NEAR(std::tanh(output[i]), after[0][i].item<float>(), 1e-6f);
  }
}

// Batches of several blocks of rows, which fill no whole tile.
class CriticBlocksTest : public ::testing::Test {
 protected:
  static constexpr int64_t kRows = 300;

  static std::shared_ptr<Agent> Trained(const std::string& kind) {
    torch::manual_seed(7);
    const std::shared_ptr<Agent> agent = MakeAgent(GoldenAgent(kind));
    BatchShare share(nullptr, kRows);
    const std::unique_ptr<CriticLearner> learner = MakeCriticLearner(*agent, share);
    for (int update = 0; update < 3; ++update) {
      TransitionBatch batch;
      batch.Require(kRows, kCriticObservations, kCriticActions);
      const auto fill = [](kernels::Floats& to, int64_t count) {
        const torch::Tensor drawn = torch::rand(count) * 2 - 1;
        std::copy_n(drawn.const_data_ptr<float>(), count, to.data());
      };
      constexpr int64_t kPair = kCriticObservations + kCriticActions;
      fill(batch.pairs, kRows * kPair);
      fill(batch.next_pairs, kRows * kPair);
      fill(batch.next_actions, kRows * kCriticActions);
      fill(batch.rewards, kRows);
      std::fill_n(batch.discounts.data(), kRows, 0.99f);
      learner->Update(batch, Values(torch::randn(kRows * kCriticActions)), {1e-3, 1e-3}, kAnyQ);
    }
    return agent;
  }
};

TEST_F(CriticBlocksTest, BitsDoNotDependOnTheNumberOfThreads) {
  for (const char* kind : {"td3bc", "rebrac", "iql"}) {
    const auto train = [&] { return Parameters(Trained(kind)->module()); };
    const std::vector<float> one = OnThreads(1, train);
    for (const int threads : {2, 3}) EXPECT_TRUE(OnThreads(threads, train) == one) << kind;
  }
}

TEST_F(CriticBlocksTest, ValuesThatDivergeChangeNothing) {
  for (const char* kind : {"td3bc", "rebrac", "iql"}) {
    const std::shared_ptr<Agent> agent = MakeAgent(GoldenAgent(kind));
    BatchShare share(nullptr, kCriticBatch);
    const std::unique_ptr<CriticLearner> learner = MakeCriticLearner(*agent, share);
    TransitionBatch batch;
    const std::vector<float> before = Parameters(agent->module());
    const std::vector<float> noise(kCriticBatch * kCriticActions);
    GoldenBatch(batch);
    const CriticLosses high = learner->Update(batch, noise, {}, 1e-3);
    EXPECT_FALSE(IsGood(high, 1e-3)) << kind;
    GoldenBatch(batch);
    batch.rewards.data()[1] = std::nanf("");
    EXPECT_FALSE(IsGood(learner->Update(batch, noise, {}, kAnyQ), kAnyQ)) << kind;
    EXPECT_TRUE(Parameters(agent->module()) == before) << kind;
    for (const auto& [name, tensor] : learner->State()) {
      if (!name.ends_with("moment")) continue;
      EXPECT_EQ(tensor.abs().max().item<float>(), 0) << name;
    }
  }
}

}  // namespace
}  // namespace cosdt::agents
