#include "experiments/report/report_data.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "datasets/file_error.h"
#include "datasets/known_files.h"
#include "experiments/report/report_csv.h"
#include "tests/experiments/report/made_up_runs.h"

namespace cosdt::experiments {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class ReportDataTest : public MadeUpRunsTest {
 protected:
  // What reading all runs refuses.
  std::string Error() {
    try {
      ReadReport({folder_});
    } catch (const datasets::FileError& e) {
      return e.what();
    }
    return "none";
  }
};

TEST_F(ReportDataTest, ReadsWhatARunHolds) {
  WriteWithScores("a", MadeUpResult("cosformer", 20, 7, 41.25));
  const RunResult run = ReadRun(folder_ + "/a");
  EXPECT_EQ(run.algorithm, "cosFormer");
  EXPECT_FALSE(run.cloning);
  EXPECT_EQ(run.context, 20);
  EXPECT_EQ(run.seed, 7u);
  EXPECT_EQ(run.score, 41.25);
  EXPECT_EQ(run.tokens_per_update, 3840);
  EXPECT_EQ(run.recurrent_ms, 0.2);
  ASSERT_THAT(run.targets, SizeIs(2));
  EXPECT_EQ(run.targets[1].target, 1800);
  EXPECT_EQ(run.targets[1].episodes, 2u);
  ASSERT_THAT(run.losses, SizeIs(20));
  EXPECT_EQ(run.losses[1].update, 200);
  EXPECT_EQ(run.losses[1].value, 0.25);
  ASSERT_THAT(run.scores, SizeIs(2));
  EXPECT_EQ(run.scores[0].update, 1000);
  EXPECT_EQ(run.scores[0].value, 41.25 / 2);
}

TEST_F(ReportDataTest, CurvesAreOfTheRunsScoreAndItsFirstTarget) {
  WriteWithScores("maze", MadeUpMaze("cosformer", 20, 0, 75));
  EXPECT_DOUBLE_EQ(ReadRun(folder_ + "/maze").scores.at(1).value, 75);  // per cent
  nlohmann::json predicting = MadeUpResult("cosformer", 20, 0, 30);
  predicting["targets"][0]["target"] = "auto";
  WriteWithScores("auto", predicting);
  EXPECT_EQ(ReadRun(folder_ + "/auto").scores.at(1).value, 30);
  WriteWithScores("bc", MadeUpCloning(100, 0, 20));
  EXPECT_EQ(ReadRun(folder_ + "/bc").scores.at(1).value, 20);
  std::ofstream(folder_ + "/bc/metrics.jsonl")
      << "{\"update\":1,\"validation_loss\":2}\n{\"update\":1,\"eval/return\":0.5}\n"
      << "{\"update\":2,\"eval/return/7.0\":0.5}\n";
  const RunResult game = ReadRun(folder_ + "/bc");  // no scale: 100 times the return
  ASSERT_THAT(game.scores, SizeIs(1));
  EXPECT_EQ(game.scores[0].value, 50);
}

TEST_F(ReportDataTest, RunsThatPredictTheirReturnsAreAnAlgorithmOfTheirOwn) {
  nlohmann::json result = MadeUpResult("cosformer", 20, 7, 41.25);
  result["targets"][1]["target"] = "auto";
  Write("second", result);
  EXPECT_EQ(ReadRun(folder_ + "/second").algorithm, "cosFormer");
  result["targets"][0]["target"] = "auto";
  Write("first", result);
  const RunResult run = ReadRun(folder_ + "/first");
  EXPECT_EQ(run.algorithm, "cosFormer, auto");
  ASSERT_THAT(run.targets, SizeIs(2));
  EXPECT_FALSE(run.targets[0].target);
  EXPECT_EQ(run.targets[0].mean, 30 * 41.25);
}

TEST_F(ReportDataTest, GroupsSeedsAndOrdersAlgorithms) {
  Write("x/1", MadeUpResult("softmax", 20, 0, 10));
  Write("x/y/2", MadeUpResult("cosformer", 20, 1, 30));
  Write("x/y/3", MadeUpResult("cosformer", 20, 0, 20));
  Write("4", MadeUpResult("cosformer", 1, 0, 5));
  Write("5", MadeUpCloning(10, 0, 50));
  Write("6", MadeUpCloning(100, 0, 40));
  Write("7", MadeUpMaze("softmax", 20, 0, 60));
  nlohmann::json relu = MadeUpResult("cosformer", 20, 0, 25);
  relu["feature_map"] = "relu";
  Write("8", relu);
  nlohmann::json decaying = MadeUpResult("cosformer", 20, 0, 25);
  decaying["half_life"] = 12.5;
  Write("9", decaying);
  for (const int tokens : {1, 2}) {
    nlohmann::json fewer = MadeUpResult("cosformer", 20, 0, 25);
    fewer["tokens_per_update"] = tokens * 64 * 20;
    Write("tokens" + std::to_string(tokens), fewer);
  }
  // a folder that is given twice counts once
  const Report report = ReadReport({folder_, folder_ + "/x/y"});
  EXPECT_THAT(report.runs, SizeIs(11));
  EXPECT_THAT(report.problems, IsEmpty());
  EXPECT_THAT(report.algorithms, ElementsAre("cosFormer", "cosFormer (ReLU)", "cosFormer, 1 token",
                                             "cosFormer, 2 tokens", "cosFormer, half-life 12.5",
                                             "softmax", "BC", "10% BC"));
  EXPECT_THAT(report.contexts, ElementsAre(1, 20));
  ASSERT_THAT(report.tasks, SizeIs(2));
  EXPECT_EQ(report.tasks[0].label, "demo/hopper-medium");
  EXPECT_EQ(report.tasks[1].label, "demo/tmaze-100");
  const Group* group = report.Find(0, 0, 20);
  ASSERT_NE(group, nullptr);
  EXPECT_THAT(group->Scores(), ElementsAre(20, 30));
  EXPECT_EQ(group->mean, 25);
  EXPECT_EQ(group->std, 5);
  EXPECT_EQ(group->iqm, 25);
  EXPECT_EQ(group->iqm_interval.low, 20);
  EXPECT_EQ(group->iqm_interval.high, 30);
  EXPECT_EQ(group->Mean(&RunResult::training_bytes), 2e7);
  EXPECT_EQ(report.Find(1, 0, 20), nullptr);
}

TEST_F(ReportDataTest, LeavesDamagedRunsOutAndNamesThem) {
  Write("good", MadeUpResult("cosformer", 20, 0, 10));
  const auto broken = [&](const std::string& name,
                          const std::function<void(nlohmann::json&)>& change) {
    nlohmann::json result = MadeUpResult("cosformer", 20, 1, 10);
    change(result);
    Write(name, result);
  };
  broken("missing", [](auto& r) { r["dataset"].erase("sha256"); });
  broken("features", [](auto& r) { r["feature_map"] = nullptr; });
  broken("null", [](auto& r) { r["score"] = nullptr; });
  broken("zero", [](auto& r) { r["tokens_per_update"] = 0; });
  broken("agent", [](auto& r) { r["agent"] = "ppo"; });
  broken("targets", [](auto& r) { r["targets"] = nlohmann::json::array(); });
  broken("kind", [](auto& r) { r["context"] = "twenty"; });
  broken("text", [](auto&) {});
  std::ofstream(folder_ + "/text/result.json") << "{\"context\": 2";
  broken("metrics", [](auto&) {});
  std::ofstream(folder_ + "/metrics/metrics.jsonl") << "{\"update\":1,\"loss\":1}\n{\"upd";
  broken("unfinished", [](auto&) {});
  std::filesystem::remove(folder_ + "/unfinished/result.json");
  broken("curveless", [](auto&) {});
  std::filesystem::remove(folder_ + "/curveless/metrics.jsonl");
  const Report report = ReadReport({folder_});
  EXPECT_THAT(report.runs, SizeIs(1));
  const std::string at = folder_ + "/";
  EXPECT_THAT(
      report.problems,
      ::testing::UnorderedElementsAre(
          at + "missing/result.json: dataset.sha256: expected a value, found none",
          at + "features/result.json: feature_map: expected a string, found null",
          at + "null/result.json: score: expected a number, found null",
          at + "zero/result.json: tokens_per_update: expected a number above 0, found 0",
          at + "agent/result.json: agent: expected dt, bc, td3bc, rebrac or iql, found \"ppo\"",
          at + "targets/result.json: targets: expected a list with entries, found []",
          at + "kind/result.json: context: expected a whole number, found \"twenty\"",
          at + "text/result.json: expected JSON, found something else",
          at + "metrics/metrics.jsonl: line 2: expected JSON, found '{\"upd'",
          at + "unfinished/result.json: expected a readable file, found none",
          at + "curveless/metrics.jsonl: expected a readable file, found none"));
}

TEST_F(ReportDataTest, KeepsARunWhoseLossDiverged) {
  Write("a", MadeUpResult("cosformer", 20, 0, 10));
  std::ofstream(folder_ + "/a/metrics.jsonl") << "{\"update\":100,\"loss\":null}\n";
  const Report report = ReadReport({folder_});
  EXPECT_TRUE(std::isnan(report.runs.at(0).losses.at(0).value));
}

TEST_F(ReportDataTest, TheSameDataByAnotherPathAreOneTask) {
  Write("a", MadeUpResult("cosformer", 20, 0, 10));
  nlohmann::json result = MadeUpResult("cosformer", 20, 1, 20);
  result["dataset"]["name"] = "/data/demo/hopper-medium.hdf5";
  Write("0", result);
  const Report report = ReadReport({folder_});
  ASSERT_THAT(report.tasks, SizeIs(1));
  EXPECT_EQ(report.tasks[0].label, "demo/hopper-medium");
  EXPECT_THAT(report.Find(0, 0, 20)->Scores(), ElementsAre(10, 20));
}

TEST_F(ReportDataTest, KeepsARunWhoseMemoryWasNotMeasured) {
  nlohmann::json result = MadeUpResult("cosformer", 20, 0, 10);
  result["training_bytes"] = nullptr;
  Write("a", result);
  const Report report = ReadReport({folder_});
  EXPECT_TRUE(std::isnan(report.groups.at(0).Mean(&RunResult::training_bytes)));
  EXPECT_THAT(RunsCsv(report), HasSubstr(",3840,,2e+06,"));
}

TEST_F(ReportDataTest, RefusesWhatDoesNotStandInOneTable) {
  Write("a", MadeUpResult("cosformer", 20, 0, 10));
  const auto error = [&](const std::function<void(nlohmann::json&)>& change) {
    nlohmann::json result = MadeUpResult("cosformer", 20, 1, 10);
    change(result);
    Write("b", result);
    return Error();
  };
  const std::string a = folder_ + "/a", b = folder_ + "/b: ";
  EXPECT_EQ(error([](auto& r) { r["physics"] = "gymnasium-v4"; }),
            b + "expected physics d4rl as in " + a + ", found gymnasium-v4");
  EXPECT_EQ(error([](auto& r) { r["mujoco_version"] = "3.4.0"; }),
            b + "expected MuJoCo 3.3.5 as in " + a + ", found 3.4.0");
  EXPECT_EQ(error([](auto& r) { r["dataset"]["sha256"] = "ff"; }),
            b + "expected the dataset's SHA-256 12abcdef345678 as in " + a + ", found ff");
  EXPECT_EQ(error([](auto& r) { r["updates"] = 10; }),
            b + "expected updates 2000 as in " + a + ", found 10");
  EXPECT_EQ(error([](auto& r) { r["seed"] = 0; }),
            b +
                "seed: expected one run per seed of demo/hopper-medium, cosFormer, context 20, "
                "found another of seed 0 in " +
                a);
  EXPECT_EQ(error([](auto&) {}), "none");
  // what is not simulated goes with any physics
  Write("maze", MadeUpMaze("cosformer", 20, 0, 10));
  EXPECT_EQ(Error(), "none");
}

TEST_F(ReportDataTest, RefusesFoldersWithoutResults) {
  EXPECT_EQ(Error(), folder_ + ": expected at least one run with a result, found none");
  Write("a", {});
  EXPECT_THAT(Error(), AllOf(HasSubstr("found none ("), HasSubstr("/a/result.json: ")));
  EXPECT_THROW(ReadReport({folder_ + "/nowhere"}), datasets::FileError);
}

TEST_F(ReportDataTest, TellsD4rlsOwnFilesByTheirBytes) {
  nlohmann::json result = MadeUpResult("cosformer", 20, 0, 10);
  result["dataset"]["name"] = "hopper-medium-v2";
  Write("a", result);
  EXPECT_FALSE(ReadReport({folder_}).tasks[0].published);
  result["dataset"]["sha256"] = datasets::FindKnownFile("hopper-medium-v2")->sha256;
  Write("a", result);
  EXPECT_TRUE(ReadReport({folder_}).tasks[0].published);
  result["physics"] = "gymnasium-v5";
  Write("a", result);
  EXPECT_FALSE(ReadReport({folder_}).tasks[0].published);
}

}  // namespace
}  // namespace cosdt::experiments
