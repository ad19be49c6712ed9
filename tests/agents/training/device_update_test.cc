#include "agents/training/device_update.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/library.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <limits>

#include "tests/agents/training/same_training.h"

namespace cosdt::agents {
namespace {

using testing::HasSubstr;
using torch::Tensor;

#define SKIP_WITHOUT_CUDA() \
  if (!torch::cuda::is_available()) GTEST_SKIP() << "needs a CUDA device, of which none is here"

std::string StateOf(const Trainer& trainer) {
  const std::string path = testing::TempDir() + "device_update_" + std::to_string(getpid());
  trainer.Save(path);
  std::ifstream file(path, std::ios::binary);
  std::string bytes(std::istreambuf_iterator<char>(file), {});
  std::filesystem::remove(path);
  return bytes;
}

class AttentionKindTest : public testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Kinds, AttentionKindTest,
                         testing::Values("cosformer", "linear", "softmax", "performer", "local",
                                         "flow", "identity"),
                         [](const auto& test) { return test.param; });

TEST_P(AttentionKindTest, TrainsAsAutogradDoes) {
  for (const std::string activation : {"relu", "gelu"}) {
    SCOPED_TRACE(activation);
    ExpectAutogradsTraining(UpdatePath::kExplicit, SmallTransformer(GetParam(), activation),
                            FastTraining(), 20, 2e-5);
  }
}

TEST_P(AttentionKindTest, FewerTokensTrainAsAutogradDoes) {
  for (const int64_t tokens : {2, 1}) {
    SCOPED_TRACE(tokens);
    AgentOptions agent = SmallTransformer(GetParam());
    agent.dt.tokens = tokens;
    ExpectAutogradsTraining(UpdatePath::kExplicit, agent, FastTraining(), 20, 2e-5);
    agent.dt.layers = 1;
    ExpectAutogradsTraining(UpdatePath::kExplicit, agent, FastTraining(), 5, 2e-5);
  }
}

TEST_P(AttentionKindTest, TrainsAsAutogradDoesInBFloat16) {
  TrainerOptions options = FastTraining();
  options.precision = "bf16";
  options.learning_rate = 3e-4;
  ExpectAutogradsTraining(UpdatePath::kExplicit, SmallTransformer(GetParam()), options, 10, 5e-3);
}

TEST(DeviceUpdateTest, DiscreteCloningTrainsAsAutogradDoes) {
  ExpectAutogradsTraining(UpdatePath::kExplicit, SmallDiscreteAgent("bc"), FastTraining(), 20,
                          2e-5);
}

TEST(DeviceUpdateTest, LeavesDiscreteTransformersToAutograd) {
  EXPECT_FALSE(DeviceUpdate::Takes(*MakeAgent(SmallDiscreteAgent())));
  EXPECT_TRUE(DeviceUpdate::Takes(*MakeAgent(SmallTransformer())));
}

TEST(DeviceUpdateTest, AnyShapeTrainsAsAutogradDoes) {
  for (const TransformerShape& s :
       {TransformerShape{1, 5, 1, 16, 30, 0.1}, TransformerShape{3, 7, 4, 64, 8, 0.5},
        TransformerShape{1, 1, 1, 16, 30, 0}, TransformerShape{3, 5, 2, 20, 12, 0}}) {
    SCOPED_TRACE(std::to_string(s.layers) + " layers, width " + std::to_string(s.width));
    ExpectAutogradsTraining(UpdatePath::kExplicit, s.Options(), FastTraining(), 15, 2e-5);
  }
}

TEST(DeviceUpdateTest, LargeBatchesComputeAgainWhatTheyDoNotKeep) {
  TrainerOptions options = FastTraining();
  options.batch_size = 1100;
  for (const std::string activation : {"relu", "gelu"}) {
    AgentOptions agent = SmallTransformer();
    agent.dt.context = 10;
    agent.dt.width = 16;
    agent.dt.activation = activation;
    ExpectAutogradsTraining(UpdatePath::kExplicit, agent, options, 3, 5e-5);
  }
}

TEST(DeviceUpdateTest, AHundredUpdatesHaveTheSameLosses) {
  const datasets::Episodes episodes = MakeEpisodes();
  for (const AgentOptions& agent : {SmallTransformer(), SmallAgent("bc")}) {
    const auto ours = MakeTrainer(agent, FastTraining(), UpdatePath::kExplicit, episodes);
    const auto theirs = MakeTrainer(agent, FastTraining(), UpdatePath::kAutograd, episodes);
    const auto a = ours->Update(120), b = theirs->Update(120);
    ASSERT_EQ(a.size(), 120u);
    ASSERT_EQ(b.size(), 120u);
    for (size_t i = 0; i < a.size(); ++i) {
      EXPECT_EQ(a[i].update, b[i].update);
      EXPECT_NEAR(a[i].loss, b[i].loss, 2e-3 * b[i].loss) << i;
    }
  }
}

TEST(DeviceUpdateTest, ManyAtOnceAreTheSameBits) {
  const datasets::Episodes episodes = MakeEpisodes();
  for (const std::string precision : {"fp32", "bf16"}) {
    TrainerOptions options = FastTraining();
    options.precision = precision;
    const auto many = MakeTrainer(SmallTransformer(), options, UpdatePath::kExplicit, episodes);
    const auto single = MakeTrainer(SmallTransformer(), options, UpdatePath::kExplicit, episodes);
    const auto results = many->Update(9);
    for (const UpdateResult& result : results) {
      const UpdateResult other = single->Update();
      EXPECT_EQ(result.loss, other.loss);
      EXPECT_EQ(result.gradient_norm, other.gradient_norm);
    }
    EXPECT_TRUE(StateOf(*many) == StateOf(*single));
  }
}

TEST(DeviceUpdateTest, ContinuesBitForBit) {
  const datasets::Episodes episodes = MakeEpisodes();
  const std::string path = testing::TempDir() + "device_update_state_" + std::to_string(getpid());
  TrainerOptions options = FastTraining();
  options.precision = "bf16";
  const auto make = [&] {
    return MakeTrainer(SmallTransformer(), options, UpdatePath::kExplicit, episodes);
  };
  const auto whole = make(), first = make(), second = make();
  whole->Update(12);
  first->Update(7);
  first->Save(path);
  second->Restore(path);
  std::filesystem::remove(path);
  second->Update(5);
  EXPECT_TRUE(StateOf(*whole) == StateOf(*second));
}

class PathTest : public testing::TestWithParam<UpdatePath> {};
INSTANTIATE_TEST_SUITE_P(Paths, PathTest,
                         testing::Values(UpdatePath::kAutograd, UpdatePath::kExplicit),
                         [](const auto& test) {
                           return test.param == UpdatePath::kExplicit ? "Explicit" : "Autograd";
                         });

TEST_P(PathTest, ANotFiniteUpdateLeavesTheStateBeforeIt) {
  datasets::Episodes episodes = MakeEpisodes();
  episodes.actions[2 * 37] = 1e30f;  // whose square is not finite
  for (const AgentOptions& agent : {SmallTransformer(), SmallAgent("bc")}) {
    TrainerOptions options = FastTraining();
    options.batch_size = 2;
    options.seed = 3;
    const auto trainer = MakeTrainer(agent, options, GetParam(), episodes);
    size_t done = 0;
    try {
      trainer->Update(500);
      FAIL();
    } catch (const NotFiniteError& e) {
      done = e.done().size();
      EXPECT_THAT(e.what(), HasSubstr("training: update " + std::to_string(done + 1) +
                                      ": expected a finite loss, found"));
    }
    ASSERT_GT(done, 0u);
    EXPECT_EQ(trainer->updates(), static_cast<int64_t>(done));
    const std::string after = StateOf(*trainer);
    const auto other = MakeTrainer(agent, options, GetParam(), episodes);
    other->Update(static_cast<int64_t>(done));
    EXPECT_TRUE(StateOf(*other) == after);
    EXPECT_THROW(trainer->Update(), NotFiniteError);
    EXPECT_TRUE(StateOf(*trainer) == after);
  }
}

TEST_P(PathTest, ANotFiniteGradientLeavesTheStateBeforeIt) {
  const datasets::Episodes episodes = MakeEpisodes();
  AgentOptions agent = SmallTransformer();
  agent.dt.activation = "gelu";
  const auto trainer = MakeTrainer(agent, FastTraining(), GetParam(), episodes);
  trainer->Update(2);
  {
    // hidden values of 0 hide the weights behind them from the loss, not from the gradient
    const torch::NoGradGuard no_grad;
    TransformerBlock& block = trainer->agent().transformer()->blocks.front();
    block->mlp_in->weight.zero_();
    block->mlp_in->bias.zero_();
    block->mlp_out->weight.fill_(1e30f);
  }
  const std::string before = StateOf(*trainer);
  try {
    trainer->Update(3);
    FAIL();
  } catch (const NotFiniteError& e) {
    EXPECT_THAT(e.what(), HasSubstr("training: update 3: expected a finite gradient, found inf"));
    EXPECT_TRUE(e.done().empty());
  }
  EXPECT_TRUE(StateOf(*trainer) == before);
}

int g_squares_left = 0;

// Does nothing a number of times, then throws.
void EndOfSquares(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  TORCH_CHECK(g_squares_left-- > 0, "no more");
  torch::jit::drop(*stack, op.schema().arguments().size());
}

TEST(DeviceUpdateTest, AnErrorLeavesTheStateOfTheUpdatesBeforeIt) {
  torch::Library library(torch::Library::IMPL, "cosdt", c10::DispatchKey::CPU, __FILE__, __LINE__);
  library.impl("squares", torch::CppFunction::makeFromBoxedFunction<EndOfSquares>());
  const datasets::Episodes episodes = MakeEpisodes();
  const auto make = [&] {
    return MakeTrainer(SmallTransformer(), FastTraining(), UpdatePath::kExplicit, episodes);
  };
  const auto stopped = make(), whole = make();
  g_squares_left = 3;
  EXPECT_THROW(stopped->Update(5), c10::Error);
  EXPECT_EQ(stopped->updates(), 3);
  g_squares_left = 3;
  whole->Update(3);
  EXPECT_TRUE(StateOf(*stopped) == StateOf(*whole));
}

TEST(DeviceUpdateTest, StatesWithTheFormerOptionAreRead) {
  const datasets::Episodes episodes = MakeEpisodes();
  const std::string path = testing::TempDir() + "device_update_old_" + std::to_string(getpid());
  const auto trainer =
      MakeTrainer(SmallTransformer(), FastTraining(), UpdatePath::kAutograd, episodes);
  trainer->Update(2);
  trainer->Save(path);
  Safetensors file = ReadSafetensors(path);
  std::string& options = file.metadata["trainer"];
  options = R"({"cuda_graph":true,)" + options.substr(1);
  WriteSafetensors(path, file);
  const auto other =
      MakeTrainer(SmallTransformer(), FastTraining(), UpdatePath::kAutograd, episodes);
  other->Restore(path);
  std::filesystem::remove(path);
  EXPECT_EQ(other->updates(), 2);
}

TEST(DeviceUpdateTest, Tf32IsRefusedOnTheCpu) {
  const datasets::Episodes episodes = MakeEpisodes();
  TrainerOptions options = FastTraining();
  options.precision = "tf32";
  options.Validate();
  try {
    MakeTrainer(SmallTransformer(), options, UpdatePath::kOfDevice, episodes);
    FAIL();
  } catch (const std::invalid_argument& e) {
    EXPECT_THAT(e.what(), HasSubstr("precision: expected fp32 or bf16 on the CPU, found tf32"));
  }
}

TEST(DeviceUpdateTest, ADeviceTrainsAsTheCpuDoes_CUDA) {
  SKIP_WITHOUT_CUDA();
  const datasets::Episodes episodes = MakeEpisodes();
  for (const std::string kind : {"cosformer", "softmax", "bc"}) {
    for (const std::string precision : {"fp32", "bf16"}) {
      TrainerOptions options = FastTraining();
      options.precision = precision;
      options.learning_rate = 3e-4;
      const AgentOptions agent = kind == "bc" ? SmallAgent("bc") : SmallTransformer(kind);
      const auto gpu = MakeTrainer(agent, options, UpdatePath::kOfDevice, episodes,
                                   torch::Device(torch::kCUDA, 0));
      EXPECT_EQ(gpu->update_path(), "kernels");
      const auto cpu = MakeTrainer(agent, options, UpdatePath::kExplicit, episodes);
      const double tolerance = precision == "bf16" ? 2e-2 : 1e-4;
      const auto a = gpu->Update(30), b = cpu->Update(30);
      for (size_t i = 0; i < a.size(); ++i) {
        EXPECT_NEAR(a[i].loss, b[i].loss, tolerance * b[i].loss) << kind << precision << i;
        EXPECT_NEAR(a[i].gradient_norm, b[i].gradient_norm, 10 * tolerance * b[i].gradient_norm)
            << kind << precision << i;
      }
    }
  }
}

TEST(DeviceUpdateTest, TheCompositionTrainsAsTheKernelsDo_CUDA) {
  SKIP_WITHOUT_CUDA();
  const datasets::Episodes episodes = MakeEpisodes();
  const torch::Device device(torch::kCUDA, 0);
  const auto a =
      MakeTrainer(SmallTransformer(), FastTraining(), UpdatePath::kOfDevice, episodes, device);
  const auto b =
      MakeTrainer(SmallTransformer(), FastTraining(), UpdatePath::kAutograd, episodes, device);
  EXPECT_EQ(b->update_path(), "composition");
  for (int i = 0; i < 10; ++i) {
    const double loss = b->Update().loss;
    EXPECT_NEAR(a->Update().loss, loss, 1e-4 * loss) << i;
  }
}

TEST(DeviceUpdateTest, RecordedAndNotAreTheSameBits_CUDA) {
  SKIP_WITHOUT_CUDA();
  const datasets::Episodes episodes = MakeEpisodes();
  const std::string path = testing::TempDir() + "device_update_gpu_" + std::to_string(getpid());
  for (const std::string precision : {"fp32", "tf32", "bf16"}) {
    TrainerOptions options = FastTraining();
    options.precision = precision;
    const auto make = [&] {
      return MakeTrainer(SmallTransformer(), options, UpdatePath::kOfDevice, episodes,
                         torch::Device(torch::kCUDA, 0));
    };
    const auto whole = make(), again = make();
    whole->Update(30);
    again->Update(30);
    EXPECT_TRUE(StateOf(*whole) == StateOf(*again)) << precision;
    // the first updates of a trainer are not recorded
    const auto first = make();
    first->Update(27);
    first->Save(path);
    const auto second = make();
    second->Restore(path);
    second->Update(3);
    EXPECT_TRUE(StateOf(*whole) == StateOf(*second)) << precision;
  }
  std::filesystem::remove(path);
}

TEST(DeviceUpdateTest, ANotFiniteUpdateLeavesTheStateBeforeIt_CUDA) {
  SKIP_WITHOUT_CUDA();
  datasets::Episodes episodes = MakeEpisodes();
  episodes.actions[2 * 37] = 1e30f;
  TrainerOptions options = FastTraining();
  options.batch_size = 2;
  options.seed = 3;
  const auto make = [&] {
    return MakeTrainer(SmallTransformer(), options, UpdatePath::kOfDevice, episodes,
                       torch::Device(torch::kCUDA, 0));
  };
  const auto trainer = make();
  size_t done = 0;
  try {
    trainer->Update(100);
    FAIL();
  } catch (const NotFiniteError& e) {
    done = e.done().size();
  }
  const auto other = make();
  other->Update(static_cast<int64_t>(done));
  EXPECT_TRUE(StateOf(*other) == StateOf(*trainer));
}

}  // namespace
}  // namespace cosdt::agents
