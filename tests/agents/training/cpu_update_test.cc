#include "agents/training/cpu_update.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "tests/agents/training/same_training.h"

namespace cosdt::agents {
namespace {

void ExpectAutogradsTraining(const AgentOptions& agent, int updates) {
  ExpectAutogradsTraining(UpdatePath::kOfDevice, agent, FastTraining(), updates, 2e-5);
}

class CpuUpdateTest : public testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Kinds, CpuUpdateTest,
                         testing::Values("cosformer", "linear", "softmax", "performer", "local",
                                         "flow", "identity"),
                         [](const auto& test) { return test.param; });

TEST_P(CpuUpdateTest, TrainsAsAutogradDoes) {
  for (const std::string activation : {"relu", "gelu"}) {
    SCOPED_TRACE(activation);
    ExpectAutogradsTraining(SmallTransformer(GetParam(), activation), 20);
  }
}

TEST_P(CpuUpdateTest, FewerTokensTrainAsAutogradDoes) {
  for (const int64_t tokens : {2, 1}) {
    SCOPED_TRACE(tokens);
    AgentOptions agent = SmallTransformer(GetParam());
    agent.dt.tokens = tokens;
    ExpectAutogradsTraining(agent, 20);
  }
}

TEST(CpuUpdateTest, DiscreteActionsTrainAsAutogradDoes) {
  for (const int64_t tokens : {3, 2, 1}) {
    SCOPED_TRACE(tokens);
    AgentOptions agent = SmallDiscreteAgent();
    agent.dt.tokens = tokens;
    ExpectAutogradsTraining(agent, 20);
  }
}

TEST(CpuUpdateTest, EveryFeatureMapTrainsAsAutogradDoes) {
  for (const std::string features : {"relu", "elu"}) {
    for (const bool reweight : {true, false}) {
      AgentOptions agent = SmallTransformer();
      agent.dt.attention.feature_map = features;
      agent.dt.attention.reweight = reweight;
      SCOPED_TRACE(features + (reweight ? "" : ", not reweighted"));
      ExpectAutogradsTraining(agent, 20);
    }
  }
}

TEST(CpuUpdateTest, DecayTrainsAsAutogradDoes) {
  AgentOptions agent = SmallTransformer();
  agent.dt.attention.half_life = 3;
  ExpectAutogradsTraining(agent, 20);
}

TEST(CpuUpdateTest, BlocksOfDifferentKindsTrainAsAutogradDoes) {
  for (const std::string kinds : {"local,cosformer", "cosformer,softmax", "linear,cosformer",
                                  "cosformer,flow", "flow,cosformer"}) {
    SCOPED_TRACE(kinds);
    ExpectAutogradsTraining(SmallTransformer(kinds), 20);
  }
}

TEST(CpuUpdateTest, AnyShapeTrainsAsAutogradDoes) {
  for (const TransformerShape& s :
       {TransformerShape{1, 5, 1, 16, 30, 0.1}, TransformerShape{3, 7, 4, 64, 8, 0.5},
        TransformerShape{1, 1, 1, 16, 30, 0}, TransformerShape{2, 40, 1, 48, 12, 0}}) {
    SCOPED_TRACE(std::to_string(s.layers) + " layers, width " + std::to_string(s.width));
    ExpectAutogradsTraining(s.Options(), 15);
  }
}

// With dropout, whose elements are counted over the whole batch.
TEST(CpuUpdateTest, BatchesOfSeveralPartsTrainAsAutogradDoes) {
  TrainerOptions options = FastTraining();
  options.batch_size = 64;  // four parts with one thread, two with two
  const int before = at::get_num_threads();
  for (const int threads : {1, 2}) {
    at::set_num_threads(threads);
    ExpectAutogradsTraining(UpdatePath::kOfDevice,
                            TransformerShape{2, 20, 1, 32, 30, 0.3}.Options(), options, 8, 2e-5);
  }
  at::set_num_threads(before);
}

TEST(CpuUpdateTest, ThreadsMayChangeBetweenUpdates) {
  const int before = at::get_num_threads();
  const datasets::Episodes episodes = MakeEpisodes();
  TrainerOptions options = FastTraining();
  options.batch_size = 64;
  const AgentOptions agent = TransformerShape{2, 20, 1, 32, 30, 0.3}.Options();
  std::vector<double> losses;
  for (const int second : {1, 2}) {
    at::set_num_threads(1);
    const auto trainer = MakeTrainer(agent, options, UpdatePath::kOfDevice, episodes);
    trainer->Update(3);
    at::set_num_threads(second);
    losses.push_back(trainer->Update(3).back().loss);
  }
  at::set_num_threads(before);
  EXPECT_NEAR(losses[1], losses[0], 1e-5 * losses[0]);
}

TEST(CpuUpdateTest, ThreadsChangeLastBitsOnly) {
  const int before = at::get_num_threads();
  const datasets::Episodes episodes = MakeEpisodes();
  TrainerOptions options = FastTraining();
  options.batch_size = 50;
  std::vector<double> losses;
  for (const int threads : {1, 2, 2, 5}) {
    at::set_num_threads(threads);
    const auto trainer = MakeTrainer(SmallTransformer(), options, UpdatePath::kOfDevice, episodes);
    losses.push_back(trainer->Update(10).back().loss);
  }
  at::set_num_threads(before);
  EXPECT_EQ(losses[1], losses[2]);
  EXPECT_NEAR(losses[1], losses[0], 1e-5 * losses[0]);
  EXPECT_NEAR(losses[3], losses[0], 1e-5 * losses[0]);
}

TEST(CpuUpdateTest, BFloat16GradientsAreFloat32sToRounding) {
  if (!kernels::ProcessorHasBFloat16()) GTEST_SKIP() << "needs a processor with AVX-512 BF16";
  for (const std::string activation : {"relu", "gelu"}) {
    torch::manual_seed(5);
    const AgentOptions options = SmallTransformer("cosformer", activation);
    DecisionTransformer model(options.dt);
    AdamW optimizer(*model, 0);
    const int64_t batch_size = 30, steps = options.dt.context;
    const Batch batch{.returns_to_go = torch::rand({batch_size, steps}),
                      .observations = torch::randn({batch_size, steps, 3}),
                      .actions = torch::rand({batch_size, steps, 2}) - 0.5,
                      .timesteps = torch::arange(steps).expand({batch_size, steps}).contiguous(),
                      .mask = torch::rand({batch_size, steps}) > 0.2};
    const double loss = CpuUpdate(model, optimizer, batch_size, torch::kFloat32).Run(batch, 77);
    const torch::Tensor exact = optimizer.gradients().clone();
    const double rounded_loss =
        CpuUpdate(model, optimizer, batch_size, torch::kBFloat16).Run(batch, 77);
    EXPECT_NEAR(rounded_loss, loss, 0.01 * loss);
    const double error = (optimizer.gradients() - exact).norm().item<double>();
    EXPECT_GT(error, 0);
    EXPECT_LT(error, 0.02 * exact.norm().item<double>());
  }
}

TEST(CpuUpdateTest, TakesWidthsOfWholePanels) {
  DecisionTransformerOptions options;
  options.width = 128;
  EXPECT_TRUE(CpuUpdate::Takes(options));
  options.width = 20;
  EXPECT_FALSE(CpuUpdate::Takes(options));
}

}  // namespace
}  // namespace cosdt::agents
