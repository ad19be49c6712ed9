// The tasks that need memory as a user meets them: collected, looked at, trained on, evaluated.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "agents/models/checkpoint.h"
#include "tests/program.h"

namespace cosdt::experiments {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

class TaskCommandTest : public ::testing::Test {
 protected:
  TaskCommandTest() : folder_(::testing::TempDir() + "/cosdt_task_" + std::to_string(getpid())) {
    std::filesystem::create_directories(folder_);
  }
  ~TaskCommandTest() override { std::filesystem::remove_all(folder_); }

  std::string Output(const std::string& arguments, int exit_code = 0) {
    const ProgramResult result = RunProgram(arguments + (exit_code ? " 2>&1" : " 2>/dev/null"));
    EXPECT_EQ(result.exit_code, exit_code) << arguments << "\n" << result.output;
    return result.output;
  }
  json Json(const std::string& arguments) { return json::parse(Output(arguments + " --json")); }

  std::string Collect(const std::string& env, const std::string& policy, int transitions) {
    // a name that says nothing of the task
    const std::string path = folder_ + "/hopper" + std::to_string(files_++) + ".hdf5";
    Output("data collect --env " + env + " --policy " + policy + " --transitions " +
           std::to_string(transitions) + " --out " + path);
    return path;
  }

  // A tiny agent after two updates on the data.
  std::string Train(const std::string& data, const std::string& more = "") {
    const std::string run = folder_ + "/run" + std::to_string(files_++);
    Output("train --dataset " + data + " --out " + run +
           " --threads 1 --width 16 --layers 1 --context 4 --batch-size 4 --updates 2 " + more);
    return run;
  }

  std::string folder_;
  int files_ = 0;
};

TEST_F(TaskCommandTest, DataTellItsTaskAndTheAgentSeesWhatTheTaskShows) {
  struct Case {
    const char* env;
    int observations;
  };
  for (const auto& [env, observations] :
       {Case{"hopper-position", 5}, Case{"hopper-velocity", 6}, Case{"hopper-dropped-50", 12},
        Case{"hopper-delayed", 11}}) {
    const std::string data = Collect(env, "demo/hopper-medium", 800);
    const json info = Json("data info " + data);
    EXPECT_EQ(info["env"], env);
    EXPECT_EQ(info["version"], "v2");
    EXPECT_EQ(info["observation_mean"].size(), observations);
    EXPECT_TRUE(info["normalized_score"].is_number());
    const json check = Json("data check " + data);
    EXPECT_EQ(check["env"], env);
    EXPECT_TRUE(check["findings"].empty()) << check["findings"];
    EXPECT_EQ(check["notes"].back()["code"], "task");
    EXPECT_TRUE(check["verdict"].is_null());
    const std::string run = Train(data);
    const agents::CheckpointInfo trained = agents::ReadCheckpoint(run + "/last.safetensors").info;
    EXPECT_EQ(trained.targets, (std::vector<double>{3600, 1800}));
    EXPECT_EQ(trained.return_scale, 1000);
    const json eval = Json("eval " + run + " --episodes 2");
    EXPECT_EQ(eval["env"], env);
    EXPECT_EQ(eval["physics"], "d4rl");
    EXPECT_TRUE(eval["targets"][0]["normalized_score"].is_number());
    EXPECT_FALSE(eval["targets"][0].contains("success_rate"));
  }
}

TEST_F(TaskCommandTest, ATMazeReportsSuccess) {
  const std::string data = Collect("tmaze-20", "scripted", 22 * 30);
  const json info = Json("data info " + data);
  EXPECT_EQ(info["env"], "tmaze-20");
  EXPECT_EQ(info["episodes"], 30);
  EXPECT_EQ(info["lengths"]["min"], 22);
  EXPECT_EQ(info["lengths"]["max"], 22);
  EXPECT_TRUE(info["normalized_score"].is_null());
  EXPECT_TRUE(Json("data check " + data)["findings"].empty());

  const json rollout = Json("rollout --env tmaze-20 --policy scripted --episodes 200");
  EXPECT_TRUE(rollout["normalized_score"].is_null());
  EXPECT_TRUE(rollout["physics"].is_null());
  EXPECT_DOUBLE_EQ(rollout["success_rate"].get<double>(), rollout["mean"].get<double>());
  EXPECT_NEAR(rollout["success_rate"].get<double>(), 0.75, 0.155);  // 5 standard deviations
  EXPECT_THAT(Output("rollout --env tmaze-20 --policy scripted --episodes 4"),
              HasSubstr("success rate"));
  EXPECT_FALSE(Json("rollout --env hopper --policy zero --episodes 1").contains("success_rate"));

  const std::string run = Train(data), other = Train(data, "--seed 1");
  const agents::Checkpoint trained = agents::ReadCheckpoint(run + "/last.safetensors");
  EXPECT_EQ(trained.info.targets, std::vector<double>{1});
  EXPECT_EQ(trained.info.return_scale, 1);
  EXPECT_EQ(trained.agent->options().dt.max_timestep, 1000);
  const json eval = Json("eval " + run + " " + other + " --episodes 20");
  const double first = eval["runs"][0]["targets"][0]["success_rate"],
               second = eval["runs"][1]["targets"][0]["success_rate"];
  EXPECT_DOUBLE_EQ(eval["summary"][0]["success_rate"].get<double>(), (first + second) / 2);
  EXPECT_THAT(Output("eval " + run + " --video " + folder_ + "/v.mp4", 1),
              HasSubstr("video: expected a body to film, found tmaze-20, which has none"));
}

TEST_F(TaskCommandTest, ATMazeIsSolvedByAContextThatReachesTheCueAndNotByHalfOfIt) {
  const std::string data = Collect("tmaze-10", "scripted", 6000);
  for (const int context : {12, 6}) {
    const std::string run = folder_ + "/k" + std::to_string(context);
    Output("train --dataset " + data + " --out " + run + " --context " + std::to_string(context) +
           " --sample whole --threads 1 --width 32 --layers 2 --batch-size 16 --lr 2e-3 "
           "--warmup 50 --updates 400");
    const double success = Json("eval " + run + " --episodes 200")["targets"][0]["success_rate"];
    if (context == 12) {
      EXPECT_GE(success, 0.95);
    } else {
      EXPECT_LE(success, 0.6);
    }
  }
}

TEST_F(TaskCommandTest, EveryStepOfTheLongestTMazeHasItsTimestep) {
  const std::string data = Collect("tmaze-1000", "scripted", 1002 * 3);
  EXPECT_EQ(Json("data info " + data)["episodes"], 3);
  EXPECT_TRUE(Json("data check " + data)["findings"].empty());
  const std::string run = Train(data);
  EXPECT_EQ(agents::ReadCheckpoint(run + "/last.safetensors").agent->options().dt.max_timestep,
            1002);
  EXPECT_EQ(Json("eval " + run + " --episodes 1")["targets"][0]["lengths"][0], 1002);
}

TEST_F(TaskCommandTest, AFileOfATaskIsNeverTakenForTheBody) {
  const std::string delayed = Collect("hopper-delayed", "random", 300),
                    body = Collect("hopper", "random", 300);
  const auto train = [&](const std::string& data, const std::string& env) {
    return Output("train --dataset " + data + " --env " + env + " --out " + folder_ + "/x", 1);
  };
  EXPECT_THAT(train(delayed, "hopper"),
              HasSubstr(delayed + ": metadata/task: expected hopper, found hopper-delayed"));
  EXPECT_THAT(train(body, "hopper-delayed"), HasSubstr("found 'hopper-delayed'"));
  EXPECT_THAT(Output("data check --env hopper " + delayed, 1), HasSubstr("metadata/task"));
  EXPECT_THAT(Output("data concat " + body + " " + delayed + " --out " + folder_ + "/c.hdf5", 1),
              HasSubstr("metadata/task: expected none, found hopper-delayed"));
  Output("data concat " + delayed + " " + delayed + " --out " + folder_ + "/c.hdf5");
  EXPECT_EQ(Json("data info " + folder_ + "/c.hdf5")["env"], "hopper-delayed");
}

TEST_F(TaskCommandTest, WrongNamesAreUsageErrors) {
  EXPECT_THAT(Output("rollout --env tmaze-5 --policy scripted", 2),
              HasSubstr("expected a corridor of 10 to 1000 steps in tmaze-N, found 'tmaze-5'"));
  EXPECT_THAT(Output("rollout --env hopper-dropped-100 --policy zero", 2),
              HasSubstr("expected a percentage of 1 to 99"));
  EXPECT_THAT(Output("rollout --env hopper-memory --policy zero", 2),
              HasSubstr("expected one of hopper, halfcheetah, walker2d, with or without"));
  EXPECT_THAT(Output("rollout --env tmaze-20 --policy scripted --physics gymnasium-v4", 1),
              HasSubstr("physics: expected none for tmaze-20"));
  EXPECT_THAT(Output("rollout --env hopper --policy scripted", 1),
              HasSubstr("policy: expected scripted for a T-maze"));
  Output("behaviour train --env hopper-position --out " + folder_ + "/b", 2);
}

}  // namespace
}  // namespace cosdt::experiments
