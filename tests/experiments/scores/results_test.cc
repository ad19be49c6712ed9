#include "experiments/scores/results.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace cosdt::experiments {
namespace {

using nlohmann::json;

TargetEvaluation Solved() {
  TargetEvaluation entry;
  entry.mean = 0.5;
  entry.iqm_ci = {0, 1};
  entry.success_rate = 0.5;
  entry.returns = {0, 1};
  entry.lengths = {12, 12};
  entry.target = 1;
  entry.decode = "window";
  entry.context = 12;
  return entry;
}

TEST(ResultsTest, AnEvaluationIsReadAsItWasWritten) {
  const json mazes = Solved();
  EXPECT_EQ(mazes, json::parse(R"({
      "mean": 0.5, "std": 0.0, "standard_error": 0.0, "iqm": 0.0, "iqm_ci": [0.0, 1.0],
      "normalized_score": null, "normalized_score_ci": null, "score_scale": null,
      "success_rate": 0.5,
      "returns": [0.0, 1.0], "lengths": [12, 12], "diverged": 0,
      "target": 1.0, "decode": "window", "precision": "fp32", "context": 12})"));
  EXPECT_EQ(json(mazes.get<TargetEvaluation>()), mazes);

  TargetEvaluation cloning = Solved();
  cloning.success_rate.reset();
  cloning.target.reset();
  cloning.decode.reset();
  cloning.normalized_score = 12.5;
  cloning.normalized_score_ci = Interval{10, 14};
  const json body = cloning;
  EXPECT_FALSE(body.contains("success_rate"));
  EXPECT_TRUE(body["target"].is_null());
  EXPECT_EQ(body["normalized_score_ci"], (json{10.0, 14.0}));
  EXPECT_EQ(body["score_scale"], "d4rl");
  EXPECT_EQ(json(body.get<TargetEvaluation>()), body);

  TargetEvaluation predicted = Solved();
  predicted.target = agents::Target::Auto();
  const json by_itself = predicted;
  EXPECT_EQ(by_itself["target"], "auto");
  EXPECT_EQ(by_itself.get<TargetEvaluation>().target, predicted.target);

  json older = mazes;
  older.erase("precision");
  EXPECT_EQ(json(older.get<TargetEvaluation>()), mazes);
  older.erase("mean");
  EXPECT_THROW(older.get<TargetEvaluation>(), json::exception);
}

TEST(ResultsTest, ACellHasTheKeysOfItsParts) {
  CellResult result;
  result.context = 20;
  result.dataset_name = "demo/hopper-medium";
  result.dataset = {"x.hdf5", "12ab"};
  result.cost.parameters = 3;
  result.evaluation.score_name = kSuccessRateName;
  result.evaluation.targets = {Solved()};
  const json object = result;
  EXPECT_EQ(object["dataset"],
            (json{{"name", "demo/hopper-medium"}, {"path", "x.hdf5"}, {"sha256", "12ab"}}));
  std::vector<std::string> keys;
  for (const auto& [key, value] : object.items()) keys.push_back(key);
  EXPECT_THAT(keys,
              testing::UnorderedElementsAre(
                  "context", "attention", "feature_map", "half_life", "agent", "top", "dataset",
                  "env", "physics", "mujoco_version", "torch_version", "seed", "updates",
                  "batch_size", "checkpoint", "device", "peak_device_memory", "parameters",
                  "tokens_per_update", "ms_per_update", "updates_per_second", "training_bytes",
                  "rollout_bytes", "ms_per_decision", "score", "score_name", "targets"));
  for (const char* empty : {"attention", "feature_map", "half_life", "physics",
                            "peak_device_memory", "training_bytes", "rollout_bytes", "score"}) {
    EXPECT_TRUE(object[empty].is_null()) << empty;
  }
}

TEST(ResultsTest, ATrainingRunWithoutEvaluationsHasItsCheckpoint) {
  TrainReport report;
  report.last.checkpoint = "last.safetensors";
  const json object = report;
  EXPECT_EQ(object["last"], (json{{"checkpoint", "last.safetensors"}, {"targets", json::array()}}));
  EXPECT_TRUE(object["best"].is_null());
  EXPECT_TRUE(object["loss"].is_null());
}

TEST(ResultsTest, CostsAreReadAsTheyWereWritten) {
  CellEstimate estimate;
  estimate.cost.device = {"cuda:0 (X)", 5};
  estimate.cost.parameters = 7;
  estimate.cost.training_bytes = -3;
  estimate.training_seconds = 1.5;
  const json object = estimate;
  EXPECT_EQ(json(object.get<CellEstimate>()), object);
  EXPECT_EQ(object["peak_device_memory"], 5);
  CellEvaluation evaluation;
  evaluation.score = 3;
  evaluation.ms_per_decision.recurrent = 2;
  EXPECT_EQ(json(json(evaluation).get<CellEvaluation>()), json(evaluation));
}

}  // namespace
}  // namespace cosdt::experiments
