#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/experiments/commands/train_runs.h"
#include "tests/read_bytes.h"

namespace cosdt {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::Not;

class CriticCommandTest : public TrainTest {
 protected:
  ProgramResult Critic(const std::string& out, const std::string& more) const {
    return RunProgram("train --dataset " + data_ + " --out " + Out(out).string() +
                      " --threads 1 --width 16 --batch-size 16 " + more);
  }
  std::string Error(const std::string& more) const {
    const ProgramResult result = Critic("wrong", more + " 2>&1");
    EXPECT_EQ(result.exit_code, 1) << result.output;
    return result.output;
  }
};

TEST_F(CriticCommandTest, AgentsWithCriticsTrainResumeAndAreEvaluated) {
  for (const std::string agent : {"td3bc", "rebrac", "iql"}) {
    const std::string options = "--agent " + agent + " --eval-every 30 --episodes 2 ";
    const ProgramResult whole = Critic(agent, options + "--updates 60 --json");
    ASSERT_EQ(whole.exit_code, 0) << whole.output;
    const json report = json::parse(whole.output);
    EXPECT_EQ(report["updates"], 60);
    EXPECT_GT(report["loss"], 0);
    EXPECT_TRUE(report["attention_path"].is_null());
    EXPECT_TRUE(report["last"]["targets"][0]["target"].is_null());
    EXPECT_THAT(ReadBytes(Out(agent + "/metrics.jsonl")), HasSubstr("\"q\":"));
    EXPECT_THAT(ReadBytes(Out(agent + "/config.toml")), HasSubstr("targets = []"));

    ASSERT_EQ(Critic(agent + "-parts", options + "--updates 25").exit_code, 0);
    ASSERT_EQ(RunProgram("train --out " + Out(agent + "-parts").string() + " --resume --updates 60")
                  .exit_code,
              0);
    EXPECT_EQ(ReadBytes(Out(agent + "-parts/resume.safetensors")),
              ReadBytes(Out(agent + "/resume.safetensors")));

    const std::string checkpoint = Out(agent + "/last.safetensors").string();
    const ProgramResult eval = RunProgram("eval " + checkpoint + " --episodes 2 --json");
    ASSERT_EQ(eval.exit_code, 0);
    EXPECT_EQ(json::parse(eval.output)["targets"], report["last"]["targets"]);
    EXPECT_THAT(RunProgram("eval " + checkpoint + " --targets 3600 2>&1").output,
                HasSubstr("targets: expected none for "));
  }
}

TEST_F(CriticCommandTest, AgentsWithCriticsRefuseWhatTheyDoNotRead) {
  EXPECT_THAT(Error("--agent td3bc --targets 3600"),
              HasSubstr("targets: expected none for TD3+BC, which takes none, found 1"));
  EXPECT_THAT(Error("--agent rebrac --warmup 5"),
              HasSubstr("warmup: expected 10000, the default, for ReBRAC, which does not read it, "
                        "found 5"));
  EXPECT_THAT(Error("--agent td3bc --lr-decay 5"), HasSubstr("lr-decay: expected 0, the default"));
  EXPECT_THAT(Error("--agent iql --expectile 1"),
              HasSubstr("IQL: expectile: expected a value between 0 and 1, found 1.000000"));
  EXPECT_THAT(Error("--agent iql --layers 5"), HasSubstr("IQL: layers: expected 1 to 4, found 5"));
  EXPECT_THAT(RunProgram("train --dataset " + data_ + " --out " + Out("wrong").string() +
                         " --agent td3bc --width 20 2>&1")
                  .output,
              HasSubstr("TD3+BC: width: expected a multiple of 16, found 20"));
}

TEST_F(CriticCommandTest, ACriticGuidesAgentsOfItsData) {
  ASSERT_EQ(Critic("critic", "--agent rebrac --updates 20").exit_code, 0);
  const std::string base = "--layers 1 --context 4 --critic " + Out("critic").string();
  const std::string guided = base + " --updates 6";
  ASSERT_EQ(Critic("guided", guided).exit_code, 0);
  ASSERT_EQ(Critic("alone", "--layers 1 --context 4 --updates 6").exit_code, 0);
  const std::string checkpoint = ReadBytes(Out("guided/last.safetensors"));
  EXPECT_NE(ReadBytes(Out("alone/last.safetensors")), checkpoint);
  EXPECT_THAT(checkpoint, HasSubstr("critic_sha256"));
  EXPECT_THAT(checkpoint, HasSubstr("agent = 'rebrac'"));  // the critic's recipe
  EXPECT_THAT(ReadBytes(Out("alone/last.safetensors")), Not(HasSubstr("critic_sha256")));
  EXPECT_THAT(ReadBytes(Out("guided/config.toml")), HasSubstr("critic-lambda = 0.5"));

  // resumed, it is the undisturbed run; with another critic it is refused
  ASSERT_EQ(Critic("parts", "--layers 1 --context 4 --updates 2 --critic " + Out("critic").string())
                .exit_code,
            0);
  ASSERT_EQ(Critic("parts", guided + " --resume").exit_code, 0);
  EXPECT_EQ(ReadBytes(Out("parts/resume.safetensors")),
            ReadBytes(Out("guided/resume.safetensors")));
  ASSERT_EQ(Critic("critic", "--agent rebrac --updates 21 --resume").exit_code, 0);
  EXPECT_THAT(Critic("guided", base + " --resume --updates 9 2>&1").output,
              HasSubstr("SHA-256 of the run's critic"));
}

TEST_F(CriticCommandTest, ACriticChoosesAmongCandidates) {
  ASSERT_EQ(Critic("critic", "--agent iql --updates 20").exit_code, 0);
  ASSERT_EQ(Critic("run", "--layers 1 --context 4 --updates 2").exit_code, 0);
  const std::string critic = " --critic " + Out("critic").string();
  const auto eval = [&](const std::string& rest) {
    const ProgramResult result =
        RunProgram("eval " + Out("run").string() + " --episodes 3 " + rest + " 2>/dev/null");
    EXPECT_EQ(result.exit_code, 0) << rest;
    return result.output;
  };
  const json alone = json::parse(eval("--json"));
  const json one = json::parse(eval("--json --candidates 1" + critic));
  EXPECT_EQ(one["targets"], alone["targets"]);
  EXPECT_FALSE(alone.contains("critic"));
  EXPECT_EQ(one["critic"]["path"], Out("critic/last.safetensors").string());
  EXPECT_EQ(one["critic"]["sha256"].get<std::string>().size(), 64u);
  EXPECT_EQ(one["candidates"], 1);
  const std::string four = eval("--json --threads 1 --candidates 4" + critic);
  EXPECT_NE(json::parse(four)["targets"], alone["targets"]);
  EXPECT_EQ(eval("--json --threads 3 --candidates 4" + critic), four);
  EXPECT_THAT(eval("--candidates 4" + critic),
              HasSubstr(", 4 candidates for " + Out("critic/last.safetensors").string()));
}

TEST_F(CriticCommandTest, CandidatesThatCannotBeChosenFromAreOneLine) {
  ASSERT_EQ(Critic("critic", "--agent td3bc --updates 1").exit_code, 0);
  ASSERT_EQ(Critic("bc", "--agent bc --updates 1").exit_code, 0);
  const auto eval = [&](const std::string& run, const std::string& rest, int exit_code) {
    const ProgramResult result =
        RunProgram("eval " + Out(run).string() + " --episodes 1 " + rest + " 2>&1");
    EXPECT_EQ(result.exit_code, exit_code) << result.output;
    return result.output;
  };
  const std::string critic = "--critic " + Out("critic").string();
  EXPECT_THAT(eval("bc", critic + " --candidates 2", 1),
              HasSubstr("bc/last.safetensors: candidates: expected an agent with targets and "
                        "continuous actions, found behaviour cloning"));
  EXPECT_THAT(eval("bc", "--critic " + Out("bc").string() + " --candidates 2", 1),
              HasSubstr("bc/last.safetensors: expected a critic of td3bc, rebrac or iql, found "
                        "behaviour cloning"));
  const std::string other = Out("other.hdf5").string();
  ASSERT_EQ(RunProgram("data collect --env hopper --policy random --transitions 300 --out " + other)
                .exit_code,
            0);
  ASSERT_EQ(RunProgram("train --dataset " + other + " --out " + Out("run").string() +
                       " --threads 1 --layers 1 --width 16 --updates 1")
                .exit_code,
            0);
  const std::string error = eval("run", critic + " --candidates 2", 1);
  EXPECT_THAT(error, HasSubstr("critic/last.safetensors: expected a critic of " + other));
  EXPECT_THAT(error, HasSubstr("found one of " + data_));
  eval("run", critic, 2);
  eval("run", "--candidates 2", 2);
  eval("run", critic + " --candidates 0", 2);
}

TEST_F(CriticCommandTest, AnUnfittingCriticIsOneLine) {
  EXPECT_THAT(Error("--critic-lambda 1"), HasSubstr("critic-lambda: expected a critic"));
  EXPECT_THAT(Error("--critic " + Out("nowhere").string()),
              HasSubstr("critic: expected a run's folder or a checkpoint, found no file"));
  ASSERT_EQ(Critic("bc", "--agent bc --updates 1").exit_code, 0);
  EXPECT_THAT(Error("--critic " + Out("bc").string()),
              HasSubstr("bc/last.safetensors: expected a critic of td3bc, rebrac or iql, found "
                        "behaviour cloning"));
  ASSERT_EQ(Critic("critic", "--agent td3bc --updates 1").exit_code, 0);
  EXPECT_THAT(Error("--agent iql --critic " + Out("critic").string()),
              HasSubstr("critic: expected a dt or bc agent to guide, found IQL"));
  const auto collect = [&](const std::string& env) {
    const std::string path = Out(env + ".hdf5").string();
    EXPECT_EQ(
        RunProgram("data collect --env " + env + " --policy random --transitions 300 --out " + path)
            .exit_code,
        0);
    return path;
  };
  const auto train_on = [&](const std::string& path) {
    return RunProgram("train --dataset " + path + " --out " + Out("other").string() +
                      " --threads 1 --updates 1 --critic " + Out("critic").string() + " 2>&1")
        .output;
  };
  EXPECT_THAT(train_on(collect("walker2d")),
              HasSubstr("expected a critic of walker2d, found one of hopper"));
  const std::string other = collect("hopper");
  const std::string error = train_on(other);
  EXPECT_THAT(error, HasSubstr("expected a critic of " + other + " (SHA-256 "));
  EXPECT_THAT(error, HasSubstr("found one of " + data_ + " (SHA-256 "));
}

}  // namespace
}  // namespace cosdt
