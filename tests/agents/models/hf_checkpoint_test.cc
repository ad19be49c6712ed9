#include "agents/models/hf_checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "agents/storage/safetensors.h"
#include "tests/agents/training/small_batch.h"

namespace cosdt::agents {
namespace {

namespace fs = std::filesystem;
using torch::Tensor;

class HfCheckpointTest : public testing::TestWithParam<std::string> {
 protected:
  fs::path golden_ =
      fs::path(COSDT_SOURCE_DIR "/tests/agents/models/golden_decision_transformer") / GetParam();
};

INSTANTIATE_TEST_SUITE_P(Activations, HfCheckpointTest, testing::Values("relu", "gelu"),
                         [](const auto& test) { return test.param; });

double LargestDifference(const Tensor& a, const Tensor& b) {
  return (a - b).abs().max().item<double>();
}

TEST_P(HfCheckpointTest, ActionsLossAndGradientsAreTransformers) {
  DecisionTransformer model = ImportHfCheckpoint(golden_ / "model", 5);
  const auto b = ReadSafetensors(golden_ / "batch.safetensors").tensors;
  const Tensor& mask = b.at("mask");
  const Tensor predicted =
      model(b.at("returns_to_go"), b.at("observations"), b.at("actions"), b.at("timesteps"), mask);
  EXPECT_LT(LargestDifference(predicted.index({mask}), b.at("predicted").index({mask})), 1e-5);
  const Tensor loss = ActionLoss(predicted, b.at("actions"), mask);
  EXPECT_NEAR(loss.item<double>(), b.at("loss").item<double>(), 1e-5);
  loss.backward();
  // gradients come in a checkpoint's layout
  const DecisionTransformer gradients = ImportHfCheckpoint(golden_ / "gradients", 5);
  for (const auto& entry : gradients->named_parameters()) {
    const Tensor found = model->named_parameters()[entry.key()].grad();
    EXPECT_GT(entry.value().abs().max().item<double>(), 1e-4) << entry.key();
    EXPECT_LT(LargestDifference(found, entry.value()), 1e-5) << entry.key();
  }
}

TEST_P(HfCheckpointTest, WhatIsExportedIsImportedAgain) {
  const fs::path folder =
      fs::path(testing::TempDir()) / ("hf_export_" + GetParam() + "_" + std::to_string(getpid()));
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

// The value of 16 bits with `exponent_bits` of exponent, by IEEE 754's definition.
double ValueOf(int bits, int exponent_bits) {
  const int mantissa_bits = 15 - exponent_bits;
  const int exponent = (bits & 0x7fff) >> mantissa_bits;
  const int mantissa = bits & ((1 << mantissa_bits) - 1);
  const int bias = (1 << (exponent_bits - 1)) - 1;
  const double sign = bits & 0x8000 ? -1 : 1;
  if (exponent == (1 << exponent_bits) - 1) return mantissa ? NAN : sign * INFINITY;
  const int implied = exponent == 0 ? 0 : 1 << mantissa_bits;  // subnormal values have none
  return sign * std::ldexp(mantissa + implied, std::max(exponent, 1) - bias - mantissa_bits);
}

TEST(HfCheckpointTest, HalfPrecisionWeightsAreTheSameValues) {
  const fs::path golden =
      COSDT_SOURCE_DIR "/tests/agents/models/golden_decision_transformer/relu/model";
  const fs::path folder = fs::path(testing::TempDir()) / ("hf_half_" + std::to_string(getpid()));
  constexpr int64_t kRows = 65536 / 8;
  for (const auto& [type, exponent_bits] : {std::pair{torch::kFloat16, 5}, {torch::kBFloat16, 8}}) {
    Safetensors file = ReadSafetensors(golden / "model.safetensors");
    for (auto& [name, tensor] : file.tensors) tensor = tensor.to(type);
    // every value there is
    const Tensor all = torch::arange(65536).to(torch::kInt16).view({kRows, 8});
    file.tensors["embed_timestep.weight"] = all.view(type);
    fs::create_directories(folder);
    std::ifstream config(golden / "config.json");
    nlohmann::json json = nlohmann::json::parse(config);
    json["max_ep_len"] = kRows;
    std::ofstream(folder / "config.json") << json;
    WriteSafetensors(folder / "model.safetensors", file);

    const DecisionTransformer model = ImportHfCheckpoint(folder);
    const Tensor table = model->embed_timestep->weight.detach().flatten();
    for (int bits = 0; bits < 65536; ++bits) {
      const double expected = ValueOf(bits, exponent_bits);
      const float found = table.const_data_ptr<float>()[bits];
      if (std::isnan(expected)) {
        ASSERT_TRUE(std::isnan(found)) << bits;
      } else {
        ASSERT_EQ(found, expected) << bits;
        ASSERT_EQ(std::signbit(found), std::signbit(expected)) << bits;
      }
    }
    EXPECT_TRUE(torch::equal(model->head->weight,
                             file.tensors["predict_action.0.weight"].to(torch::kFloat32)));
    fs::remove_all(folder);
  }
}

TEST(HfCheckpointErrorsTest, OtherFilesOfWeightsAreToldWhatToDo) {
  const fs::path folder = fs::path(testing::TempDir()) / ("hf_other_" + std::to_string(getpid()));
  for (const char* other :
       {"pytorch_model.bin", "model.safetensors.index.json", "pytorch_model.bin.index.json"}) {
    fs::create_directories(folder);
    fs::copy(COSDT_SOURCE_DIR
             "/tests/agents/models/golden_decision_transformer/relu/model/config.json",
             folder);
    std::ofstream(folder / other) << "{}";
    try {
      ImportHfCheckpoint(folder);
      ADD_FAILURE();
    } catch (const std::exception& e) {
      EXPECT_EQ(e.what(), folder.string() +
                              ": expected model.safetensors, which transformers writes with "
                              "DecisionTransformerModel.from_pretrained(FOLDER).save_pretrained("
                              "FOLDER, max_shard_size=\"100GB\"), found " +
                              other);
    }
    fs::remove_all(folder);
  }
}

TEST(HfCheckpointErrorsTest, SayWhatIsWrong) {
  const fs::path golden =
      COSDT_SOURCE_DIR "/tests/agents/models/golden_decision_transformer/relu/model";
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
  EXPECT_THAT(
      message("\"hidden_size\": 8", "\"hidden_size\": 16"),
      HasSubstr("config.json: expected at most 2247 weights, as the file has, found options "
                "for 7202"));
  EXPECT_THAT(message("\"hidden_size\": 8", "\"hidden_size\": \"8\""),
              HasSubstr("hidden_size: expected a whole number"));
  EXPECT_THAT(message("\"n_head\": 1", "\"n_head\": 3"),
              HasSubstr("config.json: expected valid options, found decision transformer: width: "
                        "expected a multiple of heads = 3, found 8"));
  // no memory is taken for what the weights cannot fill
  EXPECT_THAT(
      message("\"n_layer\": 2", "\"n_layer\": 1000000000000"),
      HasSubstr("config.json: expected at most 2247 weights, as the file has, found options "
                "for "));
  EXPECT_THAT(
      message("\"n_layer\": 2", "\"n_layer\": 18446744073709551615"),
      HasSubstr("n_layer: expected a whole number, not negative, found 1844674407370955161"));
  EXPECT_THAT(message("{", "["), HasSubstr("config.json: expected an object in JSON"));
  fs::remove(folder / "model.safetensors");
  EXPECT_THROW(ImportHfCheckpoint(folder), std::runtime_error);
  fs::remove_all(folder);
  EXPECT_THROW(ImportHfCheckpoint(folder), std::runtime_error);
  DecisionTransformerOptions two = SmallOptions("softmax");
  two.tokens = 2;
  EXPECT_THROW(ExportHfCheckpoint(DecisionTransformer(two), folder), std::invalid_argument);
  EXPECT_THROW(ExportHfCheckpoint(DecisionTransformer(SmallOptions("cosformer")), folder),
               std::invalid_argument);
}

}  // namespace
}  // namespace cosdt::agents
