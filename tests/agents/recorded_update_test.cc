#include "agents/recorded_update.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <limits>

#include "tests/agents/small_training.h"

namespace cosdt::agents {
namespace {

using torch::Tensor;

class RecordedUpdateTest : public testing::TestWithParam<std::string> {
 protected:
  std::unique_ptr<Trainer> Make(bool recorded, const torch::Device& device = torch::kCPU) {
    torch::manual_seed(11);
    Agent agent(SmallAgent(GetParam()));
    agent.module().to(device);
    TrainerOptions options = FastTraining();
    options.cuda_graph = recorded;
    return std::make_unique<Trainer>(std::move(agent), episodes_,
                                     datasets::MakeNormalizer(episodes_), options);
  }

  // The recorded update and the usual one on the same windows with the same dropout.
  void ExpectTheSameTraining(const torch::Device& device) {
    const auto recorded = Make(true, device), usual = Make(false, device);
    for (int i = 0; i < 30; ++i) {
      const UpdateResult a = recorded->Update(), b = usual->Update();
      EXPECT_EQ(a.update, b.update);
      EXPECT_EQ(a.learning_rate, b.learning_rate);
      EXPECT_NEAR(a.loss, b.loss, 1e-5 * b.loss);
      EXPECT_NEAR(a.gradient_norm, b.gradient_norm, 1e-4 * b.gradient_norm);
    }
    const auto a = recorded->agent().module().parameters();
    const auto b = usual->agent().module().parameters();
    for (size_t i = 0; i < a.size(); ++i) {
      EXPECT_LT((a[i] - b[i]).abs().max().item<double>(), 2e-5);
    }
  }

  datasets::Episodes episodes_ = MakeEpisodes();
};

INSTANTIATE_TEST_SUITE_P(Agents, RecordedUpdateTest, testing::Values("dt", "bc"),
                         [](const auto& test) { return test.param; });

TEST_P(RecordedUpdateTest, TrainsAsTheUsualUpdateDoes) { ExpectTheSameTraining(torch::kCPU); }

TEST_P(RecordedUpdateTest, GoesOnBitForBit) {
  const std::string path = testing::TempDir() + "recorded_" + std::to_string(getpid());
  const auto whole = Make(true), first = Make(true);
  for (int i = 0; i < 12; ++i) whole->Update();
  for (int i = 0; i < 7; ++i) first->Update();
  first->Save(path);
  const auto second = Make(true);
  second->Restore(path);
  std::filesystem::remove(path);
  while (second->updates() < 12) second->Update();
  const auto a = whole->agent().module().parameters(), b = second->agent().module().parameters();
  for (size_t i = 0; i < a.size(); ++i) EXPECT_TRUE(torch::equal(a[i], b[i]));
}

TEST_P(RecordedUpdateTest, StopsBeforeWeightsAreHarmed) {
  const auto trainer = Make(true);
  trainer->Update();
  {
    const torch::NoGradGuard no_grad;
    trainer->agent().module().parameters().back().fill_(std::numeric_limits<float>::quiet_NaN());
  }
  const Tensor kept = trainer->agent().module().parameters().front().clone();
  EXPECT_THROW(trainer->Update(), std::runtime_error);
  EXPECT_TRUE(torch::equal(trainer->agent().module().parameters().front(), kept));
  EXPECT_EQ(trainer->updates(), 1);
}

TEST_P(RecordedUpdateTest, ReplaysAsTheUsualUpdateDoes_CUDA) {
  if (!torch::cuda::is_available()) GTEST_SKIP() << "needs a CUDA device, of which none is here";
  ExpectTheSameTraining(torch::kCUDA);
}

}  // namespace
}  // namespace cosdt::agents
