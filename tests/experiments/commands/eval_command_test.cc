// cosdt eval as a user meets it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "agents/kernels/gemm.h"
#include "agents/models/checkpoint.h"
#include "datasets/sha256.h"
#include "experiments/scores/statistics.h"
#include "tests/program.h"

namespace cosdt::experiments {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

class EvalCommandTest : public ::testing::Test {
 protected:
  EvalCommandTest() : folder_(::testing::TempDir() + "/cosdt_eval_" + std::to_string(getpid())) {
    std::filesystem::create_directories(folder_);
  }
  ~EvalCommandTest() override { std::filesystem::remove_all(folder_); }

  // The folder of a run whose agent never learned.
  std::string MakeRun(const std::string& name, int64_t seed, const std::string& env = "hopper",
                      int64_t observations = 11) {
    torch::manual_seed(seed);
    agents::AgentOptions options;
    options.SetSizes(observations, 3);
    options.dt.layers = 1;
    options.dt.width = 16;
    options.dt.context = 4;
    agents::CheckpointInfo info;
    info.normalizer.mean.assign(observations, 0);
    info.normalizer.std.assign(observations, 1);
    info.env = env;
    info.physics = env.empty() ? "" : "gymnasium-v4";
    info.dataset = "data.hdf5";
    info.dataset_sha256 = "12ab";
    info.targets = {3600, 1800};
    const std::string folder = folder_ + "/" + name;
    std::filesystem::create_directories(folder);
    agents::WriteCheckpoint(folder + "/last.safetensors", *agents::MakeAgent(options), info);
    return folder;
  }

  // What eval prints to standard output, or its error.
  std::string Output(const std::string& arguments, int exit_code = 0) {
    const ProgramResult result =
        RunProgram("eval " + arguments + (exit_code ? " 2>&1" : " 2>/dev/null"));
    EXPECT_EQ(result.exit_code, exit_code) << result.output;
    return result.output;
  }

  std::string folder_;
};

TEST_F(EvalCommandTest, EpisodesBeginAsGymsDoWhenAskedTo) {
  const std::string run = MakeRun("gym", 1);
  const json gym = json::parse(Output(run + " --episodes 3 --seeding gym --json"));
  const json streams = json::parse(Output(run + " --episodes 3 --json"));
  EXPECT_EQ(gym["seeding"], "gym");
  EXPECT_NE(gym["targets"][0]["returns"], streams["targets"][0]["returns"]);
  EXPECT_THAT(Output(run + " --episodes 1 --seeding gym"),
              HasSubstr(", seed 0 by gym's seeding, "));
}

TEST_F(EvalCommandTest, ReportsEveryTarget) {
  const std::string run = MakeRun("a", 1);
  const json report = json::parse(Output(run + " --episodes 5 --seed 3 --json"));
  EXPECT_EQ(report["env"], "hopper");
  EXPECT_EQ(report["physics"], "gymnasium-v4");  // the agent's own
  EXPECT_EQ(report["seed"], 3);
  EXPECT_EQ(report["seeding"], "streams");
  EXPECT_EQ(report["episodes"], 5);
  EXPECT_EQ(report["device"], "cpu");
  EXPECT_EQ(report["dataset"]["path"], "data.hdf5");
  EXPECT_EQ(report["dataset"]["sha256"], "12ab");
  EXPECT_EQ(report["checkpoint"]["path"], run + "/last.safetensors");
  EXPECT_EQ(report["checkpoint"]["sha256"], datasets::Sha256OfFile(run + "/last.safetensors"));
  ASSERT_EQ(report["targets"].size(), 2u);
  EXPECT_EQ(report["targets"][1]["target"], 1800);
  for (const json& entry : report["targets"]) {
    EXPECT_EQ(entry["decode"], "window");
    EXPECT_EQ(entry["precision"], "fp32");
    EXPECT_EQ(entry["context"], 4);
    const std::vector<double> returns = entry["returns"];
    EXPECT_EQ(returns.size(), 5u);
    EXPECT_EQ(entry["lengths"].size(), 5u);
    EXPECT_DOUBLE_EQ(entry["mean"], Mean(returns));
    EXPECT_DOUBLE_EQ(entry["iqm"], InterquartileMean(returns));
    EXPECT_LE(entry["normalized_score_ci"][0], entry["normalized_score"]);
    EXPECT_GE(entry["normalized_score_ci"][1], entry["normalized_score"]);
    EXPECT_EQ(entry["diverged"], 0);
  }
}

TEST_F(EvalCommandTest, ThreadsDoNotMatterAndSeedsDo) {
  const std::string run = MakeRun("a", 1);
  const std::string arguments = run + "/last.safetensors --episodes 3 --targets 900 --physics d4rl";
  const std::string one = Output(arguments + " --decode staggered --threads 1 --json");
  EXPECT_EQ(one, Output(arguments + " --decode staggered --threads 3 --json"));
  EXPECT_NE(one, Output(arguments + " --decode staggered --seed 1 --json"));
  EXPECT_EQ(json::parse(one)["physics"], "d4rl");
  EXPECT_THAT(Output(arguments), HasSubstr("target             900, attained"));
}

TEST_F(EvalCommandTest, AsksForWhatThePredictorSays) {
  const std::string run = MakeRun("auto", 1);
  agents::Checkpoint checkpoint = agents::ReadCheckpoint(run + "/last.safetensors");
  const auto predictor = std::make_shared<agents::ReturnPredictor>(11, 1000);
  predictor->network.layers().back().bias.fill_(0.9);  // 900 at every step
  checkpoint.info.return_predictor = predictor;
  checkpoint.info.targets = {agents::Target::Auto(), 3600};
  agents::WriteCheckpoint(run + "/last.safetensors", *checkpoint.agent, checkpoint.info);
  const json own = json::parse(Output(run + " --episodes 3 --json"))["targets"];
  ASSERT_EQ(own.size(), 2u);
  EXPECT_EQ(own[0]["target"], "auto");
  EXPECT_EQ(own[1]["target"], 3600);
  const json asked =
      json::parse(Output(run + " --episodes 3 --targets 900,auto --json"))["targets"];
  EXPECT_EQ(asked[1], own[0]);
  EXPECT_NE(asked[0]["returns"], own[0]["returns"]);  // rewards lower it
  const std::string text = Output(run + " --episodes 3");
  EXPECT_THAT(text, HasSubstr("target             auto\n"));
  EXPECT_THAT(text, HasSubstr("target             3600, attained"));
  EXPECT_THAT(Output(run + " " + run + " --episodes 2 --targets auto"),
              HasSubstr("mean returns of 2 runs\ntarget             auto\n"));
  const std::string without = MakeRun("numbers", 1) + "/last.safetensors";
  EXPECT_EQ(Output(without + " --targets auto", 1),
            "cosdt: error: " + without +
                ": targets: expected numbers for an agent that does not predict returns, found "
                "auto (cosdt train --targets auto makes one that does)\n");
}

TEST_F(EvalCommandTest, ComputesInBFloat16OnRequest) {
  const std::string arguments = MakeRun("a", 1) + " --episodes 3 --targets 900 --json";
  const json exact = json::parse(Output(arguments))["targets"][0];
  const json rounded = json::parse(Output(arguments + " --precision bf16"))["targets"][0];
  if (agents::kernels::BFloat16IsFaster()) {
    EXPECT_EQ(rounded["precision"], "bf16");
    EXPECT_NE(rounded["returns"], exact["returns"]);
    EXPECT_NEAR(rounded["mean"], exact["mean"], 0.2 * exact["mean"].get<double>());
  } else {
    EXPECT_EQ(rounded, exact);
    EXPECT_THAT(RunProgram("eval " + arguments + " --precision bf16 2>&1 >/dev/null").output,
                HasSubstr("products are in float32"));
  }
  Output(arguments + " --precision fp16", 2);
}

TEST_F(EvalCommandTest, SummarizesRuns) {
  const json report = json::parse(Output(MakeRun("a", 1) + " " + MakeRun("b", 2) + " " +
                                         MakeRun("c", 3) + " --episodes 4 --json"));
  ASSERT_EQ(report["runs"].size(), 3u);
  ASSERT_EQ(report["summary"].size(), 2u);
  std::vector<double> means;
  for (const json& run : report["runs"]) means.push_back(run["targets"][1]["mean"]);
  EXPECT_EQ(report["summary"][1]["run_means"], means);
  EXPECT_EQ(report["summary"][1]["target"], 1800);
  EXPECT_DOUBLE_EQ(report["summary"][1]["mean"], Mean(means));
}

TEST_F(EvalCommandTest, ActsInAnotherTaskOfTheSameSizes) {
  const std::string arguments = MakeRun("a", 1) + " --env hopper-delayed --episodes 2 --json";
  const json delayed = json::parse(Output(arguments));
  EXPECT_EQ(delayed["env"], "hopper-delayed");
  EXPECT_EQ(delayed["physics"], "gymnasium-v4");
  // an agent for data of a body that cosdt does not know, which its user does
  const json own = json::parse(Output(MakeRun("b", 1, "") + " --env hopper --episodes 2 --json"));
  EXPECT_EQ(own["env"], "hopper");
}

TEST_F(EvalCommandTest, ErrorsAreOneLine) {
  const auto error = [](const std::string& text) { return "cosdt: error: " + text + "\n"; };
  const std::string wrong = MakeRun("wrong", 1, "hopper", 17) + "/last.safetensors";
  EXPECT_EQ(Output(wrong, 1),
            error(wrong + ": expected an agent for the 11 observations and 3 actions of hopper, "
                          "found one for 17 observations and 3 actions"));
  const std::string run = MakeRun("a", 1) + "/last.safetensors";
  EXPECT_EQ(Output(run + " --decode recurrent", 1),
            error(run + ": decode: recurrent needs an agent trained with a reweight_length above "
                        "3000, the tokens of an episode, found 24; staggered works with this one"));
  const std::string other = MakeRun("other", 1, "") + "/last.safetensors";
  EXPECT_EQ(Output(other, 1), error(other + ": env: expected an agent for a body that cosdt "
                                            "simulates, or --env, found one for data of another"));
  Output(other + " --env hoper", 2);
  EXPECT_THAT(Output(folder_, 1), HasSubstr(folder_ + "/last.safetensors: expected a readable"));
  std::ofstream(folder_ + "/text.txt") << "no tensors";
  EXPECT_THAT(Output(folder_ + "/text.txt", 1), HasSubstr("expected a safetensors header"));
  Output(run + " --decode both", 2);
  Output(run + " --targets many", 2);
  Output("", 2);
}

}  // namespace
}  // namespace cosdt::experiments
