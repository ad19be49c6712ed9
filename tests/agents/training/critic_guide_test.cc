#include "agents/training/critic_guide.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "agents/training/trainer.h"
#include "tests/threads.h"

namespace cosdt::agents {
namespace {

using ::testing::HasSubstr;
using ::testing::Property;
using ::testing::Throws;

constexpr int kObservations = 11, kActions = 3;

// Hopper's sizes; returns of 300 and 2400.
datasets::Episodes HopperEpisodes() {
  datasets::Episodes e;
  e.env = "hopper";
  e.observation_size = kObservations;
  e.action_size = kActions;
  std::mt19937 rng(3);
  std::normal_distribution<float> normal;
  std::uniform_real_distribution<float> uniform(-0.9f, 0.9f);
  e.offsets = {0};
  for (const size_t length : {6, 20}) {
    for (size_t i = 0; i < length * kObservations; ++i) e.observations.push_back(normal(rng));
    for (size_t i = 0; i < length * kActions; ++i) e.actions.push_back(uniform(rng));
    for (size_t i = 0; i < length; ++i) e.rewards.push_back(length == 6 ? 50.0f : 120.0f);
    e.offsets.push_back(e.offsets.back() + length);
    e.endings.push_back(datasets::Ending::kTerminal);
  }
  datasets::SumReturns(e);
  return e;
}

Checkpoint RandomCritic(const std::string& kind) {
  torch::manual_seed(5);
  AgentOptions options;
  options.kind = kind;
  options.SetShape(2, 32);
  options.SetSizes(kObservations, kActions);
  Checkpoint critic{MakeAgent(options), {}};
  critic.agent->actor_critic()->critics.Initialize(std::nullopt);
  critic.info.normalizer.mean.assign(kObservations, 0.25f);
  critic.info.normalizer.std.assign(kObservations, 2.0f);
  return critic;
}

// A critic by LibTorch's operations on the module's parameters.
torch::Tensor Q(const torch::nn::Module& module, const std::string& name, torch::Tensor x) {
  const auto parameters = module.named_parameters();
  for (int i = 0; i < 3; ++i) {
    const std::string at = name + ".layers." + std::to_string(i),
                      norm = name + ".norms." + std::to_string(i);
    x = torch::nn::functional::linear(x, parameters[at + ".weight"], parameters[at + ".bias"]);
    if (i == 2) break;
    x = torch::relu(x);
    if (parameters.contains(norm + ".weight")) {
      x = torch::layer_norm(x, {32}, parameters[norm + ".weight"], parameters[norm + ".bias"],
                            1e-6);
    }
  }
  return x.squeeze(-1);
}

TEST(CriticGuideTest, LossAndGradientAreThoseOfAutograd) {
  const datasets::Episodes e = HopperEpisodes();
  for (const char* kind : {"td3bc", "rebrac"}) {
    const Checkpoint critic = RandomCritic(kind);
    const CriticGuide guide(critic, e, 0.5);
    const torch::nn::Module& module = critic.agent->module();
    const std::vector<datasets::Window> windows = {{0, 2, 4}, {1, 5, 5}};
    torch::Tensor observations = torch::empty({2, 5, kObservations}), weights = torch::empty(2);
    guide.Fill(windows, {observations.data_ptr<float>(), 10 * kObservations},
               {weights.data_ptr<float>(), 2});

    const torch::Tensor all =
        (torch::tensor(std::vector<float>(e.observations.begin(), e.observations.end()))
             .view({-1, kObservations}) -
         0.25) /
        2;
    EXPECT_TRUE(torch::allclose(observations[0].slice(0, 1), all.slice(0, 2, 6), 1e-5, 1e-6));
    EXPECT_EQ(observations[0][0].abs().max().item<float>(), 0);
    EXPECT_TRUE(torch::allclose(observations[1], all.slice(0, 11, 16), 1e-5, 1e-6));
    const torch::Tensor actions =
        torch::tensor(std::vector<float>(e.actions.begin(), e.actions.end())).view({-1, kActions});
    const auto smaller = [&](const torch::Tensor& s, const torch::Tensor& a) {
      const torch::Tensor pairs = torch::cat({s, a}, -1);
      return torch::minimum(Q(module, "critics.0", pairs), Q(module, "critics.1", pairs));
    };
    const double mean = smaller(all, actions).mean().item<double>();
    EXPECT_NEAR(guide.mean_q(), mean, 1e-5 * std::abs(mean));
    // D4RL's normalized returns of hopper: (return + 20.272305) / 3254.572305
    for (const int64_t i : {0, 1}) {
      const double normalized = ((i == 0 ? 300 : 2400) + 20.272305) / 3254.572305;
      EXPECT_NEAR(weights[i].item<double>(), 50 * (1.1 - normalized) / std::abs(mean),
                  1e-4 * 55 / std::abs(mean));
    }

    torch::Tensor mask = torch::ones({2, 5}, torch::kBool);
    mask[0][0] = false;
    const torch::Tensor predicted = torch::tanh(torch::randn({2, 5, kActions})).requires_grad_();
    const torch::Tensor expected =
        -(smaller(observations, predicted) * weights.unsqueeze(1) * mask).sum() / 9;
    const torch::Tensor found = guide.Loss(predicted, mask, observations, weights);
    EXPECT_NEAR(found.item<double>(), expected.item<double>(),
                1e-5 * std::abs(expected.item<double>()));
    const auto gradient = [&](const torch::Tensor& loss) {
      return torch::autograd::grad({loss}, {predicted})[0];
    };
    const torch::Tensor g = gradient(expected);
    EXPECT_TRUE(torch::allclose(gradient(found), g, 1e-4, 1e-6 * g.abs().max().item<double>()));
  }
}

// The update without autograd and the modules', which share only the critic's own gradients.
TEST(CriticGuideTest, BothUpdatesGiveTheSameWeights) {
  const datasets::Episodes e = HopperEpisodes();
  const auto guide = std::make_shared<const CriticGuide>(RandomCritic("rebrac"), e, 0.02);
  AgentOptions options;
  for (const auto& [kind, attention, tokens] :
       {std::tuple("dt", "cosformer", 3), std::tuple("dt", "softmax", 2),
        std::tuple("dt", "local", 1), std::tuple("bc", "", 3)}) {
    options.kind = kind;
    options.SetShape(2, 32);
    options.SetSizes(kObservations, kActions);
    options.dt.context = 5;
    options.dt.tokens = tokens;
    options.dt.dropout = 0;
    if (*attention) options.dt.attention.kind = attention;
    const auto train = [&](UpdatePath path, std::shared_ptr<const CriticGuide> critic) {
      torch::manual_seed(9);
      Trainer trainer(MakeAgent(options), e, datasets::MakeNormalizer(e),
                      {.batch_size = 40, .learning_rate = 1e-3, .warmup = 0}, path, critic);
      const double loss = trainer.Update(3).back().loss;
      std::vector<torch::Tensor> flat = {torch::tensor({static_cast<float>(loss)})};
      for (const torch::Tensor& p : trainer.agent().module().parameters()) {
        flat.push_back(p.detach().flatten().clone());
      }
      return torch::cat(flat);
    };
    const torch::Tensor modules = train(UpdatePath::kAutograd, guide);
    for (const int threads : {1, 2}) {
      const torch::Tensor own =
          OnThreads(threads, [&] { return train(UpdatePath::kOfDevice, guide); });
      EXPECT_TRUE(torch::allclose(own, modules, 1e-3, 2e-4))
          << kind << attention << (own - modules).abs().max();
    }
    EXPECT_FALSE(torch::allclose(train(UpdatePath::kOfDevice, nullptr), modules, 1e-3, 2e-4))
        << kind << attention;
  }
}

TEST(CriticGuideTest, DefaultsArePublished) {
  EXPECT_EQ(CriticGuide::DefaultLambda("hopper"), 0.5);
  EXPECT_EQ(CriticGuide::DefaultLambda("halfcheetah"), 1);
  EXPECT_EQ(CriticGuide::DefaultLambda("walker2d"), 1);
}

TEST(CriticGuideTest, RefusesWhatCannotGuide) {
  const auto refuses = [](const Checkpoint& critic, const datasets::Episodes& e,
                          const std::string& message) {
    EXPECT_THAT(
        [&] { CriticGuide(critic, e, 1); },
        Throws<std::invalid_argument>(Property(&std::invalid_argument::what, HasSubstr(message))));
  };
  datasets::Episodes e = HopperEpisodes();
  AgentOptions bc;
  bc.kind = "bc";
  bc.SetSizes(kObservations, kActions);
  refuses({MakeAgent(bc), {}}, e,
          "critic: expected an agent of td3bc, rebrac or iql, found behaviour cloning");
  e.env = "";
  refuses(RandomCritic("iql"), e, "critic: expected data of a body with D4RL's scores, found none");
  e.env = "hopper";
  e.action_size = 1;
  refuses(RandomCritic("iql"), e,
          "critic: expected one for 11 observations and 1 actions, found one for 11 observations "
          "and 3 actions");
}

}  // namespace
}  // namespace cosdt::agents
