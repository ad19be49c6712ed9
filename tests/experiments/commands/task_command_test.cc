// The tasks that need memory as a user meets them: collected, looked at, trained on, evaluated.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <tuple>

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
    EXPECT_EQ(trained.targets, (std::vector<agents::Target>{3600, 1800}));
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
  EXPECT_EQ(trained.info.targets, std::vector<agents::Target>{1});
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

TEST_F(TaskCommandTest, GamesAreCollectedLookedAtAndPlayed) {
  const std::string path = folder_ + "/game.hdf5";
  Output(
      "data collect --env popgym-repeat-previous-easy --policy scripted --epsilon 0.25 "
      "--transitions 2550 --out " +
      path);
  const json info = Json("data info " + path);
  EXPECT_EQ(info["env"], "popgym-repeat-previous-easy");
  EXPECT_EQ(info["action_space"], "Discrete(4)");
  EXPECT_EQ(info["episodes"], 50);
  EXPECT_EQ(info["lengths"]["max"], 51);
  EXPECT_TRUE(info["normalized_score"].is_null());
  // a quarter of random actions, of which three in four are wrong
  EXPECT_NEAR(info["return"]["mean"].get<double>(), 1 - 2 * 0.25 * 0.75, 0.08);
  EXPECT_THAT(Output("data info " + path), HasSubstr("action space      Discrete(4)\n"));
  EXPECT_TRUE(Json("data check " + path)["findings"].empty());
  EXPECT_TRUE(Json("data info " + Collect("hopper", "random", 300))["action_space"].is_null());

  for (const auto& [env, policy, mean] :
       {std::tuple{"popgym-repeat-previous-easy", "scripted", 1.0},
        {"popgym-repeat-previous-easy", "random", -0.5},
        {"popgym-position-only-cart-pole-hard", "scripted", 1.0},
        {"rate-tmaze-900", "scripted", 1.0},
        {"memory-rl-tmaze-100", "scripted", 1.0}}) {
    const json rollout =
        Json(std::string("rollout --env ") + env + " --policy " + policy + " --episodes 100");
    EXPECT_NEAR(rollout["mean"].get<double>(), mean, 0.1) << env;
    EXPECT_TRUE(rollout["normalized_score"].is_null());
    EXPECT_TRUE(rollout["physics"].is_null());
    EXPECT_EQ(rollout.contains("success_rate"),
              std::string(env).find("tmaze") != std::string::npos);
  }
  EXPECT_THAT(Output("rollout --env popgym-autoencode-easy --policy scripted"),
              HasSubstr("return             1.000 +- 0.000"));
}

TEST_F(TaskCommandTest, AgentsForGamesAreTrainedComparedAndReported) {
  const std::string data = Collect("popgym-repeat-first-easy", "scripted", 1020);
  const std::string run = Train(data, "--tokens 1");
  EXPECT_EQ(agents::ReadCheckpoint(run + "/last.safetensors").agent->options().discrete_actions(),
            4);
  for (const std::string more : {"", " --sample-actions", " --decode staggered"}) {
    const json target = Json("eval " + run + " --episodes 3" + more)["targets"][0];
    EXPECT_EQ(target["target"], 1);
    for (const double x : target["returns"]) EXPECT_LE(std::abs(x), 1.0001);
    EXPECT_EQ(target["lengths"], (json{51, 51, 51}));
  }
  const std::string sweep = folder_ + "/sweep";
  Output("compare --datasets " + data +
         " --attention cosformer,softmax --contexts 4 --baselines bc --seeds 0 --width 16 "
         "--layers 1 --batch-size 4 --updates 2 --episodes 2 --threads 1 --out " +
         sweep);
  EXPECT_THAT(Output("report " + sweep),
              AllOf(HasSubstr("return x 100"), HasSubstr("cosFormer"), HasSubstr("BC")));
  const std::string hopper = Train(Collect("hopper", "random", 300));
  EXPECT_THAT(Output("eval " + hopper + " --episodes 1 --sample-actions", 1),
              HasSubstr("sample-actions: expected an agent with discrete actions, found 3"));
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
  EXPECT_THAT(Output("rollout --env popgym-autoencode-hardest --policy random", 2),
              HasSubstr("expected a level easy, medium or hard in popgym-autoencode-LEVEL"));
  EXPECT_THAT(Output("rollout --env rate-tmaze-9601 --policy random", 2),
              HasSubstr("expected an episode of 3 to 9600 steps in rate-tmaze-N"));
  const std::string collect = "data collect --transitions 10 --out " + folder_ + "/e.hdf5 ";
  Output(collect + "--env tmaze-20 --policy scripted --epsilon 1.5", 2);
  EXPECT_THAT(Output(collect + "--env tmaze-20 --policy random --epsilon 0.5", 1),
              HasSubstr("epsilon: expected --policy scripted, found random"));
  Output("behaviour train --env hopper-position --out " + folder_ + "/b", 2);
}

}  // namespace
}  // namespace cosdt::experiments
