#include "agents/behaviour/sac.h"

#include <ATen/Parallel.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numbers>
#include <vector>

#include "agents/policies/gaussian_policy.h"
#include "tests/agents/behaviour/golden_sac.h"

namespace cosdt::agents {
namespace {

using ::testing::FloatNear;
using ::testing::HasSubstr;
using ::testing::Pointwise;
using ::testing::Property;
using ::testing::Throws;

constexpr float kTolerance = 1e-5f;

envs::EnvSpec Spec() {
  return {
      .name = "golden", .observation_size = golden::kObservations, .action_size = golden::kActions};
}

torch::Tensor Tensor(const std::vector<float>& values, std::vector<int64_t> shape) {
  return torch::tensor(values).view(shape);
}

// A network's layers between MlpStack's layout and PyTorch's: per member, weights [outputs, inputs]
// and biases in turn. The weights of the last layer are stored that way already.
std::vector<torch::Tensor> InTorchOrder(const MlpStack::Layers& layers) {
  std::vector<torch::Tensor> parts;
  for (int64_t member = 0; member < layers[0].weight.size(0); ++member) {
    for (size_t i = 0; i < layers.size(); ++i) {
      const torch::Tensor weight = layers[i].weight[member];
      parts.push_back(i < 2 ? weight.t() : weight);
      parts.push_back(layers[i].bias[member]);
    }
  }
  return parts;
}

void Load(const MlpStack::Layers& layers, const std::vector<float>& values) {
  const torch::Tensor flat = torch::tensor(values);
  int64_t offset = 0;
  for (const torch::Tensor& part : InTorchOrder(layers)) {
    part.copy_(flat.narrow(0, offset, part.numel()).view(part.sizes()));
    offset += part.numel();
  }
  ASSERT_EQ(offset, flat.numel());
}

std::vector<float> Flat(const MlpStack::Layers& layers) {
  std::vector<float> values;
  for (const torch::Tensor& part : InTorchOrder(layers)) {
    const torch::Tensor row = part.contiguous().flatten();
    values.insert(values.end(), row.const_data_ptr<float>(),
                  row.const_data_ptr<float>() + row.numel());
  }
  return values;
}

torch::Tensor LogAlpha(const Sac& sac) {
  for (const auto& [name, tensor] : sac.State()) {
    if (name == "log_alpha/parameters") return tensor;
  }
  return {};
}

class SacGoldenTest : public ::testing::Test {
 protected:
  SacGoldenTest() : sac_(Spec(), {.hidden = golden::kHidden, .batch_size = golden::kBatch}, 0) {
    Load(sac_.policy().layers(), golden::kPolicy);
    Load(sac_.critics().layers(), golden::kCritics);
    Load(sac_.targets().layers(), golden::kTargets);
    LogAlpha(sac_).fill_(golden::kLogAlpha[0]);
  }

  SacLosses Gradients(int64_t update) {
    using namespace golden;
    const SacBatch batch = {Tensor(kObservationRows, {kBatch, kObservations}),
                            Tensor(kActionRows, {kBatch, kActions}), Tensor(kRewards, {kBatch}),
                            Tensor(kNextObservationRows, {kBatch, kObservations}),
                            Tensor(kTerminals, {kBatch})};
    return sac_.ComputeGradients(batch, Tensor(kNoise, {kUpdates, 2 * kBatch, kActions})[update]);
  }

  Sac sac_;
};

TEST_F(SacGoldenTest, LossesAndGradientsAreThoseOfPyTorch) {
  const SacLosses losses = Gradients(0);
  EXPECT_THAT(
      (std::vector<float>{losses.critic, losses.policy, losses.temperature, losses.entropy}),
      Pointwise(FloatNear(kTolerance), golden::kLosses));
  EXPECT_THAT(Flat(sac_.policy().layer_gradients()),
              Pointwise(FloatNear(kTolerance), golden::kPolicyGradients));
  EXPECT_THAT(Flat(sac_.critics().layer_gradients()),
              Pointwise(FloatNear(kTolerance), golden::kCriticGradients));
  EXPECT_NEAR(sac_.temperature_gradient(), golden::kTemperatureGradient[0], kTolerance);
}

TEST_F(SacGoldenTest, UpdatesAreThoseOfPyTorchsAdamAndSlowTargets) {
  for (int64_t update = 0; update < golden::kUpdates; ++update) {
    Gradients(update);
    sac_.Step();
  }
  EXPECT_THAT(Flat(sac_.policy().layers()), Pointwise(FloatNear(kTolerance), golden::kPolicyAfter));
  EXPECT_THAT(Flat(sac_.critics().layers()),
              Pointwise(FloatNear(kTolerance), golden::kCriticsAfter));
  EXPECT_THAT(Flat(sac_.targets().layers()),
              Pointwise(FloatNear(kTolerance / 100), golden::kTargetsAfter));
  EXPECT_NEAR(LogAlpha(sac_).item<float>(), golden::kLogAlphaAfter[0], kTolerance);
}

TEST(SacTest, BeginsWithTargetsEqualToTheCritics) {
  const Sac sac(Spec(), {}, 3);
  EXPECT_TRUE(torch::equal(sac.targets().parameters(), sac.critics().parameters()));
  EXPECT_FALSE(
      torch::equal(sac.critics().layers()[1].weight[0], sac.critics().layers()[1].weight[1]));
}

TEST(SacTest, InitializesUniformlyInOneOverTheRootOfTheInputs) {
  const Sac sac(Spec(), {}, 3);
  const torch::Tensor w = sac.policy().layers()[1].weight;
  EXPECT_NEAR(w.abs().max().item<float>(), 1.0 / 16, 1e-4);
  EXPECT_NEAR(w.std().item<float>(), 1.0 / 16 / std::sqrt(3.0), 1e-3);
}

TEST(SacTest, ActsAsThePolicyItExports) {
  Sac sac(Spec(), {}, 3);
  GaussianPolicy exported(sac.weights(), false);
  const std::vector<float> observation = {0.3f, -1, 2, 0, 0.7f};
  std::vector<float> ours(2), theirs(2), theirs_log_prob(1);
  envs::Rng a = envs::MakeRng(1, 0), b = a;
  envs::Rng* const rng = &b;
  const float log_prob = sac.Act(observation, a, ours);
  exported.Act(observation, {&rng, 1}, theirs, theirs_log_prob);
  EXPECT_THAT(ours, Pointwise(FloatNear(kTolerance), theirs));
  EXPECT_NEAR(log_prob, theirs_log_prob[0], kTolerance);
}

// One action dimension: the density of a = tanh(u), integrated over a in (-1, 1), is 1, and over
// the part below a threshold it is the share of samples there.
TEST(SacTest, LogProbabilitiesIntegrateToTheDistributionOfTheActions) {
  Sac sac({.name = "one", .observation_size = 2, .action_size = 1}, {.hidden = 16}, 5);
  const std::vector<float> observation = {0.5f, -0.25f};
  constexpr int kSamples = 20000, kBins = 20;
  std::vector<double> share(kBins), density(kBins);
  std::vector<std::pair<double, double>> samples;
  for (int i = 0; i < kSamples; ++i) {
    envs::Rng rng = envs::MakeRng(0, i);
    float action = 0;
    const float log_prob = sac.Act(observation, rng, {&action, 1});
    samples.emplace_back(action, std::exp(log_prob));
    share[std::min(static_cast<int>((action + 1) / 2 * kBins), kBins - 1)] += 1.0 / kSamples;
  }
  std::ranges::sort(samples);
  double total = 0;
  for (size_t i = 1; i < samples.size(); ++i) {  // trapezoids
    const double area =
        (samples[i].first - samples[i - 1].first) * (samples[i].second + samples[i - 1].second) / 2;
    const double middle = (samples[i].first + samples[i - 1].first) / 2;
    density[std::min(static_cast<int>((middle + 1) / 2 * kBins), kBins - 1)] += area;
    total += area;
  }
  EXPECT_NEAR(total, 1, 1e-3);
  EXPECT_THAT(density, Pointwise(::testing::DoubleNear(0.01), share));
}

// A batch of several blocks of rows, with sizes that fill no whole tile.
class SacBlocksTest : public ::testing::Test {
 protected:
  static constexpr int64_t kRows = 150, kObservations = 7, kActions = 3;

  SacBlocksTest() {
    torch::manual_seed(1);
    batch_ = {torch::randn({kRows, kObservations}), torch::rand({kRows, kActions}) * 2 - 1,
              torch::randn(kRows), torch::randn({kRows, kObservations}),
              (torch::rand(kRows) < 0.1).to(torch::kFloat)};
    noise_ = torch::randn({2 * kRows, kActions});
  }

  Sac Make() const {
    return Sac({.name = "blocks", .observation_size = kObservations, .action_size = kActions},
               {.hidden = 48, .batch_size = kRows}, 4);
  }

  SacBatch batch_;
  torch::Tensor noise_;
};

// The parameters of one member as leaves, and its outputs [rows, outputs].
struct Differentiable {
  explicit Differentiable(const MlpStack& stack, int64_t member) {
    for (const MlpStack::Layer& layer : stack.layers()) {
      weights.push_back(layer.weight[member].clone().requires_grad_());
      biases.push_back(layer.bias[member].flatten().clone().requires_grad_());
    }
  }
  torch::Tensor operator()(const torch::Tensor& x) const {
    const torch::Tensor h = torch::relu(torch::addmm(biases[0], x, weights[0]));
    return torch::addmm(biases[2], torch::relu(torch::addmm(biases[1], h, weights[1])),
                        weights[2].t());
  }
  void ExpectGradients(const torch::Tensor& loss, const MlpStack::Layers& found, int64_t member) {
    std::vector<torch::Tensor> leaves = weights;
    leaves.insert(leaves.end(), biases.begin(), biases.end());
    const auto gradients = torch::autograd::grad({loss}, leaves, {}, /*retain_graph=*/true);
    for (size_t i = 0; i < 3; ++i) {
      EXPECT_TRUE(torch::allclose(found[i].weight[member], gradients[i], 1e-3, 1e-6)) << i;
      EXPECT_TRUE(torch::allclose(found[i].bias[member].flatten(), gradients[3 + i], 1e-3, 1e-6))
          << i;
    }
  }
  std::vector<torch::Tensor> weights, biases;
};

TEST_F(SacBlocksTest, GradientsAreThoseOfAutograd) {
  Sac sac = Make();
  const SacLosses losses = sac.ComputeGradients(batch_, noise_);
  Differentiable policy(sac.policy(), 0);
  std::vector<Differentiable> critics, targets;
  for (const int64_t member : {0, 1}) {
    critics.emplace_back(sac.critics(), member);
    targets.emplace_back(sac.targets(), member);
  }
  const auto act = [&](const torch::Tensor& observations, const torch::Tensor& noise) {
    const std::vector<torch::Tensor> halves = policy(observations).chunk(2, 1);
    const torch::Tensor log_std = halves[1].clamp(-20, 2), u = halves[0] + log_std.exp() * noise;
    const torch::Tensor density = -0.5 * noise.square() - log_std -
                                  0.5 * std::log(2 * std::numbers::pi) -
                                  torch::log1p(-u.tanh().square());
    return std::pair(u.tanh(), density.sum(1));
  };
  const auto smaller = [](const std::vector<Differentiable>& two, const torch::Tensor& pairs) {
    return torch::minimum(two[0](pairs), two[1](pairs)).squeeze(1);
  };
  const auto [actions, log_probs] = act(batch_.observations, noise_.narrow(0, 0, kRows));
  const auto [next, next_log_probs] = act(batch_.next_observations, noise_.narrow(0, kRows, kRows));
  const torch::Tensor returns =
      (batch_.rewards +
       0.99 * (1 - batch_.terminals) *
           (smaller(targets, torch::cat({batch_.next_observations, next}, 1)) - next_log_probs))
          .detach();
  const torch::Tensor pairs = torch::cat({batch_.observations, batch_.actions}, 1);
  const torch::Tensor critic_loss = (critics[0](pairs).squeeze(1) - returns).square().mean() +
                                    (critics[1](pairs).squeeze(1) - returns).square().mean();
  const torch::Tensor policy_loss =
      (log_probs - smaller(critics, torch::cat({batch_.observations, actions}, 1))).mean();
  EXPECT_NEAR(losses.critic, critic_loss.item<float>(), 1e-4);
  EXPECT_NEAR(losses.policy, policy_loss.item<float>(), 1e-4);
  policy.ExpectGradients(policy_loss, sac.policy().layer_gradients(), 0);
  for (const int64_t member : {0, 1}) {
    critics[static_cast<size_t>(member)].ExpectGradients(critic_loss,
                                                         sac.critics().layer_gradients(), member);
  }
}

TEST_F(SacBlocksTest, BitsDoNotDependOnTheNumberOfThreads) {
  const int before = at::get_num_threads();
  std::vector<torch::Tensor> parameters;
  for (const int threads : {1, 2, 5}) {
    at::set_num_threads(threads);
    Sac sac = Make();
    for (int i = 0; i < 3; ++i) {
      sac.ComputeGradients(batch_, noise_);
      sac.Step();
    }
    parameters.push_back(torch::cat({sac.policy().parameters(), sac.critics().parameters(),
                                     sac.targets().parameters(), LogAlpha(sac)}));
  }
  at::set_num_threads(before);
  EXPECT_TRUE(torch::equal(parameters[0], parameters[1]));
  EXPECT_TRUE(torch::equal(parameters[0], parameters[2]));
}

TEST(SacTest, NamesTheOptionThatIsWrong) {
  const auto make = [](SacOptions options) { Sac(Spec(), options, 0); };
  const auto throws = [](const char* text) {
    return Throws<std::invalid_argument>(Property(&std::exception::what, HasSubstr(text)));
  };
  EXPECT_THAT([&] { make({.batch_size = 0}); }, throws("batch_size: expected at least 1"));
  EXPECT_THAT([&] { make({.hidden = 0}); }, throws("hidden: expected a positive multiple of 16"));
  EXPECT_THAT([&] { make({.lr = 0}); }, throws("lr"));
  EXPECT_THAT([&] { make({.tau = 2}); }, throws("tau"));
  EXPECT_THAT([&] { make({.gamma = 1}); }, throws("gamma"));
}

}  // namespace
}  // namespace cosdt::agents
