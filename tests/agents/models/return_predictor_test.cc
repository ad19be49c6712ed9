#include "agents/models/return_predictor.h"

#include <ATen/CPUGeneratorImpl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "agents/models/checkpoint.h"
#include "tests/agents/models/checkpoint_error.h"

namespace cosdt::agents {
namespace {

using testing::HasSubstr;

TEST(TargetTest, IsANumberOrAuto) {
  EXPECT_EQ(ParseTarget("auto"), Target::Auto());
  EXPECT_EQ(ParseTarget("-2.5e1"), Target(-25));
  EXPECT_NE(Target(0), Target::Auto());
  EXPECT_TRUE(ParseTarget("inf")->value() == std::numeric_limits<double>::infinity());
  for (const char* const text : {"", "Auto", "auto ", "1,2", "3600x"}) {
    EXPECT_FALSE(ParseTarget(text)) << text;
  }
}

class PredictorFileTest : public testing::Test {
 protected:
  PredictorFileTest() {
    AgentOptions options;
    options.dt.layers = 1;
    options.dt.width = 16;
    options.dt.max_timestep = 40;
    options.SetSizes(3, 2);
    agent_ = MakeAgent(options);
    info_.normalizer = {.mean = {0, 0, 0}, .std = {1, 1, 1}};
    const auto predictor = std::make_shared<ReturnPredictor>(3, 40);
    predictor->network.Initialize(at::make_generator<at::CPUGeneratorImpl>(1));
    info_.return_predictor = predictor;
  }
  ~PredictorFileTest() override { std::filesystem::remove(path_); }

  std::string MessageOf(const Safetensors& file) const { return CheckpointError(path_, file); }

  std::string path_ = testing::TempDir() + "predictor-" + std::to_string(getpid()) + ".safetensors";
  std::shared_ptr<Agent> agent_;
  CheckpointInfo info_;
};

TEST_F(PredictorFileTest, ComesBackFromACheckpoint) {
  info_.targets = {Target::Auto(), 3600};
  WriteCheckpoint(path_, *agent_, info_);
  const Checkpoint read = ReadCheckpoint(path_);
  EXPECT_EQ(read.info.targets, info_.targets);
  ASSERT_TRUE(read.info.return_predictor);
  const std::vector<float> rows = {0.1f, -2, 0.5f, 1, 0, -1};
  for (const int64_t step : {0, 7, 39, 500}) {
    std::vector<float> found(2), expected(2);
    info_.return_predictor->Predict(rows, step, expected);
    read.info.return_predictor->Predict(rows, step, found);
    EXPECT_EQ(found, expected) << step;
  }
}

TEST_F(PredictorFileTest, IsNotThereUnlessTheAgentHasOne) {
  info_.return_predictor = nullptr;
  WriteCheckpoint(path_, *agent_, info_);
  for (const auto& [name, tensor] : ReadSafetensors(path_).tensors) {
    EXPECT_TRUE(name.starts_with("model.") || name.starts_with("normalizer.")) << name;
  }
  EXPECT_FALSE(ReadCheckpoint(path_).info.return_predictor);
}

TEST_F(PredictorFileTest, DamagedOnesAreRefused) {
  WriteCheckpoint(path_, *agent_, info_);
  const Safetensors good = ReadSafetensors(path_);
  Safetensors file = good;
  file.tensors.erase("return_predictor.layers.1.bias");
  EXPECT_THAT(MessageOf(file), HasSubstr("return_predictor.layers.1.bias: expected F32 [256]"));
  file = good;
  file.tensors["return_predictor.layers.0.weight"] = torch::zeros({256, 5});
  EXPECT_THAT(MessageOf(file),
              HasSubstr("return_predictor.layers.0.weight: expected F32 [256, 4], found F32 "
                        "[256, 5]"));
  file = good;
  file.tensors["return_predictor.layers.3.bias"] = torch::zeros({1});
  EXPECT_THAT(MessageOf(file),
              HasSubstr("return_predictor.layers.3.bias: expected no such weight"));
  EXPECT_EQ(MessageOf(good), "");
}

}  // namespace
}  // namespace cosdt::agents
