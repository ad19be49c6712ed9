#include "agents/training/cpu_update.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "agents/training/trainer.h"
#include "tests/agents/training/small_training.h"

namespace cosdt::agents {
namespace {

AgentOptions KindOptions(const std::string& attention, const std::string& activation) {
  AgentOptions options = SmallAgent("dt");
  options.dt.heads = 2;
  options.dt.width = 32;
  options.dt.attention.kind = attention;
  options.dt.activation = activation;
  return options;
}

std::unique_ptr<Trainer> MakeTrainer(const AgentOptions& agent_options,
                                     const TrainerOptions& options, UpdatePath path,
                                     const datasets::Episodes& episodes) {
  torch::manual_seed(11);
  return std::make_unique<Trainer>(MakeAgent(agent_options), episodes,
                                   datasets::MakeNormalizer(episodes), options, path);
}

// The kernels' update and autograd's on the same windows with the same dropout.
void ExpectAutogradsTraining(const AgentOptions& agent, const TrainerOptions& options, int updates,
                             double tolerance) {
  const datasets::Episodes episodes = MakeEpisodes();
  const auto ours = MakeTrainer(agent, options, UpdatePath::kOfDevice, episodes);
  const auto theirs = MakeTrainer(agent, options, UpdatePath::kAutograd, episodes);
  for (int i = 0; i < updates; ++i) {
    const UpdateResult a = ours->Update(), b = theirs->Update();
    ASSERT_NEAR(a.loss, b.loss, tolerance * b.loss) << "update " << a.update;
    ASSERT_NEAR(a.gradient_norm, b.gradient_norm, 10 * tolerance * b.gradient_norm)
        << "update " << a.update;
  }
  const auto pa = ours->agent().module().named_parameters();
  const auto pb = theirs->agent().module().named_parameters();
  for (const auto& p : pa) {
    EXPECT_LT((p.value() - pb[p.key()]).abs().max().item<double>(), 5 * tolerance) << p.key();
  }
}

class CpuUpdateTest : public testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Kinds, CpuUpdateTest,
                         testing::Values("cosformer", "linear", "softmax", "performer", "local",
                                         "flow", "identity"),
                         [](const auto& test) { return test.param; });

TEST_P(CpuUpdateTest, TrainsAsAutogradDoes) {
  for (const std::string activation : {"relu", "gelu"}) {
    SCOPED_TRACE(activation);
    ExpectAutogradsTraining(KindOptions(GetParam(), activation), FastTraining(), 20, 2e-5);
  }
}

TEST(CpuUpdateTest, EveryFeatureMapTrainsAsAutogradDoes) {
  for (const std::string features : {"relu", "elu"}) {
    for (const bool reweight : {true, false}) {
      AgentOptions agent = KindOptions("cosformer", "relu");
      agent.dt.attention.feature_map = features;
      agent.dt.attention.reweight = reweight;
      SCOPED_TRACE(features + (reweight ? "" : ", not reweighted"));
      ExpectAutogradsTraining(agent, FastTraining(), 20, 2e-5);
    }
  }
}

TEST(CpuUpdateTest, AnyShapeTrainsAsAutogradDoes) {
  struct Shape {
    int64_t layers, context, heads, width, max_timestep;
    double dropout;
  };
  for (const Shape& s : {Shape{1, 5, 1, 16, 30, 0.1}, Shape{3, 7, 4, 64, 8, 0.5},
                         Shape{1, 1, 1, 16, 30, 0}, Shape{2, 40, 1, 48, 12, 0}}) {
    AgentOptions agent = KindOptions("cosformer", "relu");
    agent.dt.layers = s.layers;
    agent.dt.context = s.context;
    agent.dt.heads = s.heads;
    agent.dt.width = s.width;
    agent.dt.max_timestep = s.max_timestep;
    agent.dt.dropout = s.dropout;
    SCOPED_TRACE(std::to_string(s.layers) + " layers, width " + std::to_string(s.width));
    ExpectAutogradsTraining(agent, FastTraining(), 15, 2e-5);
  }
}

TEST(CpuUpdateTest, ThreadsChangeLastBitsOnly) {
  const int before = at::get_num_threads();
  const datasets::Episodes episodes = MakeEpisodes();
  TrainerOptions options = FastTraining();
  options.batch_size = 50;
  std::vector<double> losses;
  for (const int threads : {1, 2, 2, 5}) {
    at::set_num_threads(threads);
    const auto trainer =
        MakeTrainer(KindOptions("cosformer", "relu"), options, UpdatePath::kOfDevice, episodes);
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
    const AgentOptions options = KindOptions("cosformer", activation);
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
