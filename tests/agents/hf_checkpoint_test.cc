#include "agents/hf_checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "agents/safetensors.h"
#include "tests/agents/small_batch.h"

namespace cosdt::agents {
namespace {

namespace fs = std::filesystem;
using torch::Tensor;

class HfCheckpointTest : public testing::TestWithParam<std::string> {
 protected:
  fs::path golden_ =
      fs::path(COSDT_SOURCE_DIR "/tests/agents/golden_decision_transformer") / GetParam();
};

INSTANTIATE_TEST_SUITE_P(Activations, HfCheckpointTest, testing::Values("relu", "gelu"),
                         [](const auto& test) { return test.param; });

double Difference(const Tensor& a, const Tensor& b) { return (a - b).abs().max().item<double>(); }

TEST_P(HfCheckpointTest, ActionsLossAndGradientsAreTransformers) {
  DecisionTransformer model = ImportHfCheckpoint(golden_ / "model", 5);
  const auto b = ReadSafetensors(golden_ / "batch.safetensors").tensors;
  const Tensor& mask = b.at("mask");
  const Tensor predicted =
      model(b.at("returns_to_go"), b.at("observations"), b.at("actions"), b.at("timesteps"), mask);
  EXPECT_LT(Difference(predicted.index({mask}), b.at("predicted").index({mask})), 1e-5);
  const Tensor loss = ActionLoss(predicted, b.at("actions"), mask);
  EXPECT_NEAR(loss.item<double>(), b.at("loss").item<double>(), 1e-5);
  loss.backward();
  // gradients come in a checkpoint's layout
  const DecisionTransformer gradients = ImportHfCheckpoint(golden_ / "gradients", 5);
  for (const auto& entry : gradients->named_parameters()) {
    const Tensor found = model->named_parameters()[entry.key()].grad();
    EXPECT_GT(entry.value().abs().max().item<double>(), 1e-4) << entry.key();
    EXPECT_LT(Difference(found, entry.value()), 1e-5) << entry.key();
  }
}

TEST_P(HfCheckpointTest, WhatIsExportedIsImportedAgain) {
  const fs::path folder = fs::path(testing::TempDir()) / ("hf_export_" + GetParam());
  const DecisionTransformer model = ImportHfCheckpoint(golden_ / "model", 5);
  ExportHfCheckpoint(model, folder);
  const DecisionTransformer again = ImportHfCheckpoint(folder, 5);
  for (const auto& entry : model->named_parameters()) {
    EXPECT_TRUE(torch::equal(again->named_parameters()[entry.key()], entry.value())) << entry.key();
  }
  EXPECT_EQ(again->options().activation, GetParam());
  EXPECT_EQ(again->options().heads, model->options().heads);
  EXPECT_EQ(again->options().max_timestep, 24);
  // for check_hf_export.py: all that transformers expects is there
  const auto names = [](const fs::path& file) {
    std::vector<std::string> list;
    for (const auto& [name, tensor] : ReadSafetensors(file).tensors) list.push_back(name);
    return list;
  };
  EXPECT_EQ(names(folder / "model.safetensors"), names(golden_ / "model/model.safetensors"));
  if (!std::getenv("COSDT_KEEP_EXPORT")) fs::remove_all(folder);
}

TEST(HfCheckpointErrorsTest, SayWhatIsWrong) {
  const fs::path golden = COSDT_SOURCE_DIR "/tests/agents/golden_decision_transformer/relu/model";
  const fs::path folder = fs::path(testing::TempDir()) / ("hf_bad_" + std::to_string(getpid()));
  const auto message = [&](const std::string& from, const std::string& to) -> std::string {
    fs::remove_all(folder);
    fs::copy(golden, folder);
    std::string config(
        (std::istreambuf_iterator<char>(std::ifstream(golden / "config.json").rdbuf())), {});
    const size_t at = config.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    std::ofstream(folder / "config.json") << config.replace(at, from.size(), to);
    try {
      ImportHfCheckpoint(folder);
    } catch (const std::exception& e) {
      return e.what();
    }
    return "";
  };
  using testing::HasSubstr;
  EXPECT_EQ(message("relu", "relu"), "");
  EXPECT_THAT(message("\"relu\"", "\"silu\""),
              HasSubstr("config.json: activation_function: expected relu or gelu"));
  EXPECT_THAT(message("\"action_tanh\": true", "\"action_tanh\": false"),
              HasSubstr("action_tanh: expected true, found false"));
  EXPECT_THAT(message("\"hidden_size\": 8", "\"hidden_size\": 16"),
              HasSubstr("embed_timestep.weight: expected F32 [24, 16], found F32 [24, 8]"));
  EXPECT_THAT(message("\"hidden_size\": 8", "\"hidden_size\": \"8\""),
              HasSubstr("hidden_size: expected a whole number"));
  EXPECT_THAT(message("{", "["), HasSubstr("config.json: expected an object in JSON"));
  fs::remove(folder / "model.safetensors");
  EXPECT_THROW(ImportHfCheckpoint(folder), std::runtime_error);
  fs::remove_all(folder);
  EXPECT_THROW(ImportHfCheckpoint(folder), std::runtime_error);
  EXPECT_THROW(ExportHfCheckpoint(DecisionTransformer(SmallOptions("cosformer")), folder),
               std::invalid_argument);
}

}  // namespace
}  // namespace cosdt::agents
