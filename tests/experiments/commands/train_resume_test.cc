// cosdt train --resume.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/experiments/commands/train_runs.h"
#include "tests/read_bytes.h"

namespace cosdt {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::HasSubstr;

class TrainResumeTest : public TrainTest {};

TEST_F(TrainResumeTest, AKilledRunIsResumedBitForBit) {
  const std::string options = "--updates 150 --save-every 7 ";
  ASSERT_EQ(Train("whole", options).exit_code, 0);
  // killed as soon as something is saved, three times
  for (int kill = 0; kill < 3; ++kill) {
    const std::string state = Out("killed/resume.safetensors").string();
    const std::string train = "'" COSDT_PROGRAM "' train --dataset " + data_ + " --out " +
                              Out("killed").string() +
                              " --threads 1 --width 16 --layers 2 --context 4 --batch-size 4 "
                              "--warmup 10 --resume " +
                              options;
    const std::string script =
        "touch " + Out("seen").string() + "; " + train + "& pid=$!; n=0; while [ ! " + state +
        " -nt " + Out("seen").string() +
        " ] && [ $n -lt 600 ] && kill -0 $pid 2>/dev/null; do sleep 0.05; n=$((n + 1)); done; "
        "kill -9 $pid; wait $pid 2>/dev/null";
    EXPECT_NE(std::system(script.c_str()), -1);
    ASSERT_TRUE(fs::exists(state));
  }
  ASSERT_EQ(Train("killed", options + "--resume").exit_code, 0);
  EXPECT_EQ(ReadBytes(Out("killed/last.safetensors")), ReadBytes(Out("whole/last.safetensors")));
  EXPECT_EQ(ReadBytes(Out("killed/resume.safetensors")),
            ReadBytes(Out("whole/resume.safetensors")));
}

TEST_F(TrainResumeTest, AResumedRunTakesFromConfigAndPresetWhatMayChange) {
  const auto resume = [&](const std::string& toml, const std::string& rest = "") {
    std::ofstream(Out("c.toml")) << toml;
    return RunProgram("train --out " + Out("run").string() + " --resume --json --config " +
                      Out("c.toml").string() + " " + rest + " 2>&1");
  };
  ASSERT_EQ(Train("run", "--preset corl-hopper --updates 2").exit_code, 0);
  EXPECT_EQ(json::parse(resume("updates = 4\nheads = 1\nwidth = 0\n").output)["updates"], 4);
  EXPECT_THAT(ReadBytes(Out("run/config.toml")), HasSubstr("\nupdates = 4\n"));
  EXPECT_EQ(resume("heads = 2\n").output,
            "cosdt: error: " + Out("c.toml").string() +
                ": heads: expected 1, with which the run began, found 2\n");
  EXPECT_EQ(resume("", "--preset original-hopper").output,
            "cosdt: error: preset original-hopper: timestep-std: expected 0.02, with which the run "
            "began, found 1.0\n");
  EXPECT_EQ(resume("", "--preset corl-hopper").output,
            "cosdt: error: preset corl-hopper: batch-size: expected 4, with which the run began, "
            "found 4096\n");
  // what a later source sets back does not count; the command that began the run continues it
  EXPECT_EQ(resume("heads = 2\n", "--heads 1").exit_code, 0);
  EXPECT_EQ(json::parse(
                Train("run", "--preset corl-hopper --updates 5 --resume --json").output)["updates"],
            5);
  EXPECT_EQ(ReadBytes(Out("run/config.toml")).find("heads = 2"), std::string::npos);
}

TEST_F(TrainResumeTest, ARunIsResumedWithItsDataElsewhere) {
  const std::string here = Out("here").string(), there = Out("there").string();
  fs::create_directories(here);
  fs::create_directories(there);
  fs::copy_file(data_, here + "/data.hdf5");
  ASSERT_EQ(TrainIn(here, "--dataset data.hdf5 --out run --updates 6").exit_code, 0);
  ASSERT_EQ(TrainIn(here, "--dataset data.hdf5 --out ../moved --updates 2").exit_code, 0);
  // from another folder, where the path that was given leads nowhere
  ASSERT_EQ(TrainIn(there, "--out ../moved --updates 3 --resume").exit_code, 0);
  fs::rename(here + "/data.hdf5", there + "/renamed.hdf5");
  const ProgramResult lost = TrainIn(there, "--out ../moved --updates 4 --resume 2>&1");
  EXPECT_EQ(lost.exit_code, 1);
  EXPECT_EQ(lost.output, "cosdt: error: " + here +
                             "/data.hdf5: expected a file or the name of one of D4RL's, found "
                             "neither; ../moved began with it (--dataset gives its path now)\n");
  fs::create_symlink("renamed.hdf5", there + "/link.hdf5");
  ASSERT_EQ(TrainIn(there, "--dataset link.hdf5 --out ../moved --updates 4 --resume").exit_code, 0);
  ASSERT_EQ(TrainIn(here, "--dataset ../there/renamed.hdf5 --out ../moved --updates 6 --resume")
                .exit_code,
            0);
  EXPECT_EQ(ReadBytes(Out("moved/resume.safetensors")),
            ReadBytes(here + "/run/resume.safetensors"));

  // other data are refused, and the run's own are not forgotten
  ASSERT_EQ(
      RunProgram("data collect --env hopper --policy random --seed 9 --transitions 600 --out " +
                 here + "/data.hdf5")
          .exit_code,
      0);
  const std::string config = ReadBytes(Out("moved/config.toml"));
  const ProgramResult other =
      TrainIn(here, "--dataset data.hdf5 --out ../moved --updates 8 --resume 2>&1");
  EXPECT_EQ(other.exit_code, 1);
  EXPECT_THAT(other.output, testing::StartsWith("cosdt: error: data.hdf5: SHA-256 of the run's "
                                                "data: expected "));
  EXPECT_EQ(ReadBytes(Out("moved/config.toml")), config);

  // an evaluation needs no data
  fs::remove(there + "/renamed.hdf5");
  EXPECT_EQ(RunProgram("eval " + Out("moved").string() + " --episodes 1 --threads 1").exit_code, 0);
}

TEST_F(TrainResumeTest, ARunIsResumedWithOtherThreadsAndSaysWhatThatDoes) {
  ASSERT_EQ(Train("run", "--updates 2").exit_code, 0);
  const auto go_on = [&](const std::string& more) {
    return RunProgram("train --dataset " + data_ + " --out " + Out("run").string() +
                      " --resume --updates " + more + " 2>&1 >/dev/null");
  };
  EXPECT_EQ(go_on("4").output, "");
  EXPECT_EQ(go_on("6 --threads 1").output, "");
  const ProgramResult other = go_on("8 --threads 2");
  EXPECT_EQ(other.exit_code, 0);
  EXPECT_EQ(other.output,
            "cosdt: --threads 2: the run began with 1; from here on its bits may differ from an "
            "undisturbed run's\n");
  EXPECT_THAT(ReadBytes(Out("run/config.toml")), HasSubstr("threads = 2\n"));
}

TEST_F(TrainResumeTest, ATerminatedRunSavesAndStops) {
  const std::string train = "'" COSDT_PROGRAM "' train --dataset " + data_ + " --out " +
                            Out("run").string() +
                            " --threads 1 --width 16 --layers 2 --context 4 --batch-size 4 "
                            "--updates 1000000 --save-every 1000000 >/dev/null 2>&1";
  const int status = std::system(
      (train + "& pid=$!; n=0; while [ ! -s " + Out("run/metrics.jsonl").string() +
       " ] && [ $n -lt 600 ]; do sleep 0.05; n=$((n + 1)); done; kill -TERM $pid; wait $pid")
          .c_str());
  EXPECT_EQ(WEXITSTATUS(status), 128 + 15);
  EXPECT_TRUE(fs::exists(Out("run/last.safetensors")));
  EXPECT_TRUE(fs::exists(Out("run/resume.safetensors")));
}

}  // namespace
}  // namespace cosdt
