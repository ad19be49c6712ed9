#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "tests/program.h"

namespace cosdt {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

class BehaviourCommandTest : public ::testing::Test {
 protected:
  BehaviourCommandTest() {
    char path[] = "/tmp/cosdt_behaviour_XXXXXX";
    root_ = mkdtemp(path);
  }
  ~BehaviourCommandTest() override { std::filesystem::remove_all(root_); }

  ProgramResult Train(const std::string& folder, const std::string& more) {
    return RunProgram("behaviour train --env hopper --out " + root_ + "/" + folder + " " + more);
  }

  std::string Bytes(const std::string& path) const {
    std::ifstream file(root_ + "/" + path, std::ios::binary);
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
  }

  std::string root_;
};

TEST_F(BehaviourCommandTest, ReportsWhatItTrainedAndSaved) {
  const ProgramResult result = Train("run", "--steps 300 --save-steps 100,200 --json");
  ASSERT_EQ(result.exit_code, 0);
  const nlohmann::json report = nlohmann::json::parse(result.output);
  EXPECT_EQ(report["env"], "hopper");
  EXPECT_EQ(report["physics"], "d4rl");
  EXPECT_EQ(report["seed"], 0);
  EXPECT_EQ(report["steps"], 300);
  EXPECT_TRUE(report["return"].is_null());  // before the first evaluation
  ASSERT_EQ(report["policies"].size(), 3u);
  EXPECT_EQ(report["policies"][0]["path"], root_ + "/run/policy-100.hdf5");
  EXPECT_EQ(report["policies"][2]["step"], 300);
  const ProgramResult rollout =
      RunProgram("rollout --env hopper --episodes 1 --policy " + root_ + "/run/policy-last.hdf5");
  EXPECT_EQ(rollout.exit_code, 0);
}

TEST_F(BehaviourCommandTest, ASignalSavesAndResumeLeadsToTheSameEnd) {
  ASSERT_EQ(Train("whole", "--steps 10060 2>/dev/null").exit_code, 0);
  // the signal comes soon after the run has begun, wherever it is then
  const std::string command =
      "'" COSDT_PROGRAM "' behaviour train --env hopper --steps 10060 --resume --replay " + root_ +
      "/replay.hdf5 --out " + root_ + "/stopped 2>" + root_ + "/messages & while [ ! -e " + root_ +
      "/stopped ] && kill -0 $!; do sleep 0.02; done; sleep 0.2; kill -TERM $!; wait $!";
  const int status = std::system(command.c_str());
  if (WEXITSTATUS(status) != 0) {
    EXPECT_EQ(WEXITSTATUS(status), 128 + SIGTERM);
    EXPECT_THAT(Bytes("messages"), HasSubstr("cosdt: stopped by signal 15 after step "));
    EXPECT_FALSE(std::filesystem::exists(root_ + "/replay.hdf5"));
  }
  ASSERT_EQ(Train("stopped", "--steps 10060 --resume 2>/dev/null").exit_code, 0);
  for (const char* file : {"/state.hdf5", "/transitions.f32", "/policy-last.hdf5"}) {
    EXPECT_TRUE(Bytes(std::string("whole") + file) == Bytes(std::string("stopped") + file)) << file;
  }
}

TEST_F(BehaviourCommandTest, WritesTheReplayAsADatasetThatTheDoctorFindsFit) {
  const std::string replay = root_ + "/replay.hdf5";
  ASSERT_EQ(Train("run", "--steps 2000 --replay " + replay).exit_code, 0);
  const ProgramResult check = RunProgram("data check --json " + replay);
  EXPECT_EQ(check.exit_code, 0);
  const nlohmann::json report = nlohmann::json::parse(check.output);
  EXPECT_LT(report["replay"]["d4rl"]["median"], 1e-6);
}

TEST_F(BehaviourCommandTest, SaysInOneLineWhatIsWrong) {
  const auto line = [&](const std::string& text) {
    EXPECT_EQ(std::ranges::count(text, '\n'), 1) << text;
    EXPECT_THAT(text, StartsWith("cosdt: error: "));
    return text;
  };
  ASSERT_EQ(Train("run", "--steps 10").exit_code, 0);
  const ProgramResult there = Train("run", "--steps 10 2>&1");
  EXPECT_EQ(there.exit_code, 1);
  EXPECT_THAT(line(there.output), HasSubstr("expected a folder without a run, found one"));
  const ProgramResult other = Train("run", "--steps 20 --seed 5 --resume 2>&1");
  EXPECT_EQ(other.exit_code, 1);
  EXPECT_THAT(line(other.output), HasSubstr("options/seed: expected 5, found 0"));
  const ProgramResult unwritable =
      RunProgram("behaviour train --env hopper --steps 10 --out /proc/run 2>&1");
  EXPECT_EQ(unwritable.exit_code, 1);
  EXPECT_THAT(line(unwritable.output), HasSubstr("/proc/run: cannot be made"));
  EXPECT_EQ(RunProgram("behaviour train --env ant --out " + root_ + "/x 2>&1").exit_code, 2);
  EXPECT_EQ(Train("x", "--steps 0 2>&1").exit_code, 2);
}

TEST_F(BehaviourCommandTest, DemoDatasetsAreMadeOnFirstUse) {
  const std::string at = " --data-dir " + root_;
  ASSERT_EQ(RunProgram("data fetch demo/hopper-medium --transitions 3000" + at).exit_code, 0);
  const std::string made = Bytes("demo/hopper-medium.hdf5");
  const ProgramResult info = RunProgram("data info demo/hopper-medium --json" + at);
  ASSERT_EQ(info.exit_code, 0);
  const nlohmann::json report = nlohmann::json::parse(info.output);
  EXPECT_EQ(report["transitions"], 3000);
  EXPECT_EQ(report["env"], "hopper");
  EXPECT_EQ(report["kind"], "medium");
  EXPECT_TRUE(report["known_as"].is_null());
  EXPECT_TRUE(Bytes("demo/hopper-medium.hdf5") == made);  // used, not made again
  const ProgramResult game = RunProgram("data info demo/popgym-repeat-previous-easy --json" + at);
  ASSERT_EQ(game.exit_code, 0);
  EXPECT_EQ(nlohmann::json::parse(game.output)["transitions"], 500 * 51);  // the usual number
  EXPECT_EQ(RunProgram("data info demo/hopper-media" + at + " 2>&1").exit_code, 1);
  EXPECT_EQ(RunProgram("data fetch hopper-medium-v2 --transitions 10" + at + " 2>&1").exit_code, 1);
}

}  // namespace
}  // namespace cosdt
