#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "experiments/scores/metric_name.h"

namespace cosdt::experiments {

// The result.json of a run that never was: a Decision Transformer on demo/hopper-medium.
inline nlohmann::json MadeUpResult(const std::string& attention, int context, int seed,
                                   double score) {
  nlohmann::json targets = nlohmann::json::array();
  for (const double target : {3600.0, 1800.0}) {
    targets.push_back({{"target", target},
                       {"decode", "window"},
                       {"context", context},
                       {"returns", {30 * score - 1, 30 * score + 1}},
                       {"mean", 30 * score}});
  }
  return {
      {"context", context},
      {"attention", attention},
      {"feature_map", attention == "cosformer" ? nlohmann::json("elu") : nlohmann::json()},
      {"agent", "dt"},
      {"top", 100.0},
      {"dataset", {{"name", "demo/hopper-medium"}, {"path", "x"}, {"sha256", "12abcdef345678"}}},
      {"env", "hopper"},
      {"physics", "d4rl"},
      {"mujoco_version", "3.3.5"},
      {"torch_version", "2.11.0"},
      {"seed", seed},
      {"updates", 2000},
      {"batch_size", 64},
      {"parameters", 1000 + context},
      {"updates_per_second", 20.0},
      {"ms_per_update", 50.0},
      {"tokens_per_update", 192 * context},
      {"training_bytes", 1000000 * context},
      {"rollout_bytes", 2000000},
      {"ms_per_decision", {{"window", 0.1 * context}, {"recurrent", 0.2}}},
      {"score", score},
      {"score_name", "normalized score"},
      {"targets", targets},
      {"checkpoint", {{"path", "x"}, {"sha256", "y"}}}};
}

// The same for behavior cloning on the best `top` percent of the episodes.
inline nlohmann::json MadeUpCloning(double top, int seed, double score) {
  nlohmann::json result = MadeUpResult("", 1, seed, score);
  result["agent"] = "bc";
  result["attention"] = nullptr;
  result["top"] = top;
  result["ms_per_decision"]["recurrent"] = nullptr;
  result["targets"].erase(1);
  result["targets"][0]["target"] = nullptr;
  return result;
}

// The same on a T-maze, which nothing simulates.
inline nlohmann::json MadeUpMaze(const std::string& attention, int context, int seed,
                                 double score) {
  nlohmann::json result = MadeUpResult(attention, context, seed, score);
  result["dataset"] = {{"name", "demo/tmaze-100"}, {"path", "x"}, {"sha256", "34"}};
  result["env"] = "tmaze-100";
  result["physics"] = nullptr;
  result["score_name"] = "success rate";
  result["targets"].erase(1);
  return result;
}

// Writes a run's folder.
inline void WriteRun(const std::string& folder, const nlohmann::json& result) {
  std::filesystem::create_directories(folder);
  std::ofstream(folder + "/result.json") << result.dump();
  std::ofstream metrics(folder + "/metrics.jsonl");
  for (int update = 100; update <= 2000; update += 100) {
    metrics << nlohmann::json{{"update", update}, {"loss", 50.0 / update}} << "\n";
  }
}

// Adds two evaluations during training to its metrics.
inline void WriteScores(const std::string& folder, const nlohmann::json& result) {
  std::ofstream metrics(folder + "/metrics.jsonl", std::ios::app);
  const nlohmann::json& target = result["targets"][0]["target"];
  const bool is_rate = result["score_name"] == "success rate";
  const double score = result["score"];
  for (const int update : {1000, 2000}) {
    metrics << nlohmann::json{{"update", update},
                              {MetricName("return", target), 30 * score},
                              {MetricName(is_rate ? "success_rate" : "normalized_score", target),
                               score * update / (is_rate ? 2e5 : 2e3)}}
            << "\n";
  }
}

// Tests with a folder of runs.
class MadeUpRunsTest : public ::testing::Test {
 protected:
  MadeUpRunsTest() : folder_(::testing::TempDir() + "/cosdt_report_" + std::to_string(getpid())) {
    std::filesystem::create_directories(folder_);
  }
  ~MadeUpRunsTest() override { std::filesystem::remove_all(folder_); }

  void Write(const std::string& name, const nlohmann::json& result) {
    WriteRun(folder_ + "/" + name, result);
  }

  void WriteWithScores(const std::string& name, const nlohmann::json& result) {
    Write(name, result);
    WriteScores(folder_ + "/" + name, result);
  }

  std::string folder_;
};

}  // namespace cosdt::experiments
