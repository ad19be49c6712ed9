#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "tests/program.h"

namespace cosdt {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

class CompareCommandTest : public testing::Test {
 protected:
  CompareCommandTest() {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    for (const std::string env : {"hopper", "tmaze-10"}) {
      const std::string policy = env == "hopper" ? "random" : "scripted";
      EXPECT_EQ(RunProgram("data collect --env " + env + " --policy " + policy +
                           " --transitions 600 --out " + Data(env))
                    .exit_code,
                0);
    }
  }
  ~CompareCommandTest() override { fs::remove_all(folder_); }

  std::string Data(const std::string& env) const { return folder_ + "/" + env + ".hdf5"; }

  // 6 small cells
  std::string Command(const std::string& out, const std::string& rest = "") const {
    return "compare --datasets " + Data("hopper") + "," + Data("tmaze-10") +
           " --attention cosformer,softmax --contexts 2 --baselines bc --seeds 0 --updates 30 "
           "--save-every 10 --width 16 --layers 1 --batch-size 4 --warmup 5 --episodes 3 --out " +
           folder_ + "/" + out + " " + rest;
  }

  // Scores by cell.
  std::map<std::string, json> Scores(const std::string& out) const {
    std::map<std::string, json> scores;
    for (const fs::directory_entry& entry : fs::recursive_directory_iterator(folder_ + "/" + out)) {
      if (entry.path().filename() != "result.json") continue;
      const json result = json::parse(std::ifstream(entry.path()));
      scores[fs::relative(entry.path(), folder_ + "/" + out).string()] = {
          result["score"], result["targets"], result["checkpoint"]["sha256"]};
    }
    return scores;
  }

  std::string folder_ = testing::TempDir() + "compare_" + std::to_string(getpid());
};

TEST_F(CompareCommandTest, RunsEveryCellOnceAndReportsThem) {
  const ProgramResult first = RunProgram(Command("all", "--json 2>/dev/null"));
  ASSERT_EQ(first.exit_code, 0);
  const json cells = json::parse(first.output)["cells"];
  ASSERT_EQ(cells.size(), 6u);
  for (const json& cell : cells) {
    ASSERT_EQ(cell["state"], "done");
    EXPECT_EQ(cell["updates"], 30);
    EXPECT_GT(cell["updates_per_second"], 0);
    EXPECT_GT(cell["ms_per_decision"]["window"], 0);
    EXPECT_EQ(cell["ms_per_decision"]["recurrent"].is_null(), cell["agent"] == "bc");
    EXPECT_GT(cell["training_bytes"], 0);
    EXPECT_EQ(cell["device"], "cpu");
    EXPECT_TRUE(cell["peak_device_memory"].is_null());
    EXPECT_GT(cell["parameters"], 0);
    EXPECT_EQ(cell["physics"].is_null(), cell["env"] == "tmaze-10");
    EXPECT_EQ(cell["targets"][0]["returns"].size(), 3u);
  }
  // eval says the same of a cell's checkpoint
  const json& cell = cells[0];
  const ProgramResult eval =
      RunProgram("eval " + cell["checkpoint"]["path"].get<std::string>() + " --episodes 3 --json");
  EXPECT_EQ(json::parse(eval.output)["targets"], cell["targets"]);

  // nothing is done twice
  const auto before = Scores("all");
  const ProgramResult again = RunProgram(Command("all", "2>&1"));
  EXPECT_EQ(again.exit_code, 0);
  EXPECT_THAT(again.output, Not(HasSubstr("training")));
  EXPECT_THAT(again.output, HasSubstr("6 cells done"));
  EXPECT_EQ(Scores("all"), before);
  // a damaged result is written again
  const fs::path first_result = fs::path(folder_) / "all" / before.begin()->first;
  fs::resize_file(first_result, 50);
  ASSERT_EQ(RunProgram(Command("all", ">/dev/null 2>&1")).exit_code, 0);
  EXPECT_EQ(Scores("all"), before);
  // other options do not fit what is there
  const ProgramResult other = RunProgram(Command("all", "--lr 0.5 2>&1"));
  EXPECT_EQ(other.exit_code, 1);
  EXPECT_THAT(other.output, HasSubstr("expected a run with lr = 0.5"));
}

TEST_F(CompareCommandTest, ShardsShareTheCells) {
  ASSERT_EQ(RunProgram(Command("shards", "--shard 1/3 2>/dev/null")).exit_code, 0);
  EXPECT_THAT(Scores("shards").size(), testing::AllOf(testing::Ge(1u), testing::Le(4u)));
  // the environment is read as well
  for (const std::string shard : {"0", "2"}) {
    setenv("OMPI_COMM_WORLD_RANK", shard.c_str(), 1);
    setenv("OMPI_COMM_WORLD_SIZE", "3", 1);
    EXPECT_EQ(RunProgram(Command("shards", "2>/dev/null")).exit_code, 0);
  }
  unsetenv("OMPI_COMM_WORLD_RANK");
  unsetenv("OMPI_COMM_WORLD_SIZE");
  EXPECT_EQ(Scores("shards").size(), 6u);
}

TEST_F(CompareCommandTest, KilledWorkersLeaveTheResultsOfUndisturbedOnesSlow) {
  ASSERT_EQ(RunProgram(Command("whole", "2>/dev/null")).exit_code, 0);
  // three workers on one sweep, killed at different moments, again and again
  for (int round = 0; round < 6; ++round) {
    std::string script;
    for (int worker = 0; worker < 3; ++worker) {
      script += "timeout -s KILL " + std::to_string(1 + 0.7 * ((round + worker) % 3)) + " '" +
                COSDT_PROGRAM "' " + Command("killed", ">/dev/null 2>&1") + " & ";
    }
    EXPECT_NE(std::system((script + "wait").c_str()), -1);
  }
  ASSERT_EQ(RunProgram(Command("killed", "2>/dev/null")).exit_code, 0);
  EXPECT_EQ(Scores("killed"), Scores("whole"));
}

TEST_F(CompareCommandTest, ASlurmArrayOfTheUserIsAnnounced) {
  setenv("SLURM_ARRAY_TASK_ID", "28", 1);  // whose share of 6 cells is none
  setenv("SLURM_ARRAY_TASK_COUNT", "30", 1);
  const ProgramResult one = RunProgram(Command("array", "2>&1"));
  const ProgramResult chosen = RunProgram(Command("array", "--shard 29/30 2>&1"));
  unsetenv("SLURM_ARRAY_TASK_ID");
  unsetenv("SLURM_ARRAY_TASK_COUNT");
  EXPECT_THAT(one.output, StartsWith("cosdt: shard 29 of 30, from Slurm's array (--shard 28/30); "
                                     "--shard 0/1 takes all cells\n"));
  EXPECT_THAT(one.output, HasSubstr("6 cells waiting"));
  EXPECT_THAT(chosen.output, Not(HasSubstr("cosdt: shard")));
}

TEST_F(CompareCommandTest, TheSameDataAreTheSameCells) {
  const auto compare = [&](const std::string& dataset, const std::string& from = ".") {
    return RunProgram("compare --datasets " + dataset + " --attention cosformer --contexts 2 " +
                          "--seeds 0 --updates 2 --width 16 --layers 1 --batch-size 4 --episodes " +
                          "1 --threads 1 --out " + folder_ + "/same 2>&1",
                      "cd '" + folder_ + "/" + from + "' && COSDT_DATA=" + folder_);
  };
  const std::string in_folder = folder_ + "/hopper_random-v2.hdf5";
  fs::rename(Data("hopper"), in_folder);
  ASSERT_EQ(compare("hopper_random-v2.hdf5").exit_code, 0);
  const auto before = Scores("same");
  ASSERT_EQ(before.size(), 1u);
  EXPECT_EQ(before.begin()->first, "hopper-random-v2/cosformer-K2/seed-0/result.json");
  fs::create_directories(folder_ + "/elsewhere");
  fs::create_symlink(in_folder, folder_ + "/elsewhere/link.hdf5");
  for (const std::string spelt : {"./hopper_random-v2.hdf5", "hopper-random-v2",
                                  "elsewhere/../hopper_random-v2.hdf5", "elsewhere/link.hdf5"}) {
    const ProgramResult again = compare(spelt);
    EXPECT_EQ(again.exit_code, 0) << again.output;
    EXPECT_THAT(again.output, Not(HasSubstr("training"))) << spelt;
    EXPECT_EQ(Scores("same"), before) << spelt;
  }
  // begun and not finished, resumed from another folder with moved data
  const fs::path result = fs::path(folder_) / "same" / before.begin()->first;
  fs::remove(result);
  fs::rename(in_folder, folder_ + "/elsewhere/hopper_random-v2.hdf5");
  ASSERT_EQ(compare("hopper_random-v2.hdf5", "elsewhere").exit_code, 0);
  EXPECT_EQ(Scores("same"), before);
  // other data behind the name are refused
  fs::rename(Data("tmaze-10"), in_folder);
  const ProgramResult other = compare("hopper_random-v2.hdf5");
  EXPECT_EQ(other.exit_code, 1);
  EXPECT_THAT(other.output,
              StartsWith("cosdt: error: hopper_random-v2.hdf5: SHA-256 of the data of " + folder_ +
                         "/same/hopper-random-v2/cosformer-K2/seed-0: expected "));
}

TEST_F(CompareCommandTest, TheWorkingFolderMayBeTheSweeps) {
  fs::copy_file(Data("hopper"), folder_ + "/hopper_random-v2.hdf5");
  fs::create_directories(folder_ + "/sweep \xff");
  const auto compare = [&] {
    return RunProgram(
        "compare --datasets hopper-random-v2 --attention cosformer --contexts 2 --seeds 0 "
        "--updates 2 --width 16 --layers 1 --batch-size 4 --episodes 1 --threads 1 --out . --json "
        "2>/dev/null",
        "cd '" + folder_ + "/sweep \xff' && COSDT_DATA=" + folder_);
  };
  const ProgramResult first = compare(), again = compare();  // hopper-random-v2 is a folder now
  ASSERT_EQ(first.exit_code, 0);
  ASSERT_EQ(again.exit_code, 0);
  EXPECT_EQ(json::parse(again.output)["cells"][0]["state"], "done");
  EXPECT_EQ(again.output, first.output);
  EXPECT_EQ(RunProgram("compare --datasets hopper-random-v2 --contexts 2 --seeds 0 --list",
                       "cd '" + folder_ + "/sweep \xff' && COSDT_DATA=/nowhere")
                .exit_code,
            1);
}

TEST_F(CompareCommandTest, MemoryIsUnknownWhereTheKernelDoesNotResetItsPeakSlow) {
  const std::string blind =
      "unshare -m sh -c 'mount -t proc proc /proc && mount -o remount,bind,ro /proc && exec "
      "\"$@\"' sh";
  if (std::system((blind + " true 2>/dev/null").c_str()) != 0) {
    GTEST_SKIP() << "no mount namespaces here";
  }
  const std::string command =
      "compare --datasets " + Data("hopper") +
      " --attention cosformer --contexts 2 --seeds 0 --updates 2 --width 16 --layers 1 "
      "--batch-size 4 --episodes 1 --threads 1 --out " +
      folder_ + "/blind";
  EXPECT_THAT(RunProgram(command + " --dry-run", blind).output,
              HasSubstr(", memory not measured\n"));
  const ProgramResult result = RunProgram(command + " --json 2>/dev/null", blind);
  ASSERT_EQ(result.exit_code, 0);
  const json cell = json::parse(result.output)["cells"][0];
  EXPECT_EQ(cell["state"], "done");
  EXPECT_TRUE(cell["training_bytes"].is_null());
  EXPECT_TRUE(cell["rollout_bytes"].is_null());
  EXPECT_EQ(RunProgram("report " + folder_ + "/blind").exit_code, 0);
}

TEST_F(CompareCommandTest, AFailedCellDoesNotStopTheOthers) {
  ASSERT_EQ(RunProgram(Command("failing", "--list 2>&1")).exit_code, 0);
  // something in the way of one cell's checkpoint
  const fs::path cell = fs::path(folder_) / "failing";
  const ProgramResult list = RunProgram(Command("failing", "--list"));
  const std::string name = list.output.substr(0, list.output.find('\n'));
  fs::create_directories(cell / name / "last.safetensors" / "full");
  const ProgramResult result = RunProgram(Command("failing", "--json 2>/dev/null"));
  EXPECT_EQ(result.exit_code, 1);
  size_t done = 0, failed = 0;
  const json report = json::parse(result.output);
  for (const json& entry : report["cells"]) {
    done += entry["state"] == "done";
    if (entry["state"] == "failed") {
      ++failed;
      EXPECT_THAT(entry["error"].get<std::string>(), HasSubstr("last.safetensors"));
    }
  }
  EXPECT_EQ(failed, 1u);
  EXPECT_EQ(done, 5u);
}

TEST_F(CompareCommandTest, ADryRunEstimatesEveryCell) {
  const ProgramResult result = RunProgram(Command("dry", "--dry-run --json"));
  ASSERT_EQ(result.exit_code, 0);
  const json plan = json::parse(result.output);
  EXPECT_EQ(plan["plan"].size(), 6u);
  EXPECT_GT(plan["seconds"], 0);
  EXPECT_FALSE(fs::exists(folder_ + "/dry"));
}

TEST_F(CompareCommandTest, WhatASweepLeavesOutIsNotTakenFromWhatStandsThere) {
  const auto compare = [&](const std::string& rest) {
    return RunProgram("compare --datasets " + Data("hopper") +
                      " --attention softmax --contexts 2 --seeds 0 --updates 2 --batch-size 4 "
                      "--layers 1 --width 16 --episodes 1 --out " +
                      folder_ + "/left " + rest + " 2>&1");
  };
  ASSERT_EQ(compare("--targets 77").exit_code, 0);
  const std::string cell = "cosdt: error: " + folder_ + "/left/hopper/softmax-K2/seed-0: ";
  EXPECT_EQ(compare("").output, cell +
                                    "expected a run with targets = [ 3600.0, 1800.0 ], as the "
                                    "sweep says, found one with [ 77.0 ]\n");
  EXPECT_EQ(compare("--targets 77 --physics gymnasium-v4").output,
            cell +
                "expected a run with physics = 'gymnasium-v4', as the sweep says, found one with "
                "'d4rl'\n");
  EXPECT_THAT(compare("--targets 77").output, HasSubstr("1 cells done"));
}

TEST_F(CompareCommandTest, SaysWhatIsWrong) {
  EXPECT_EQ(RunProgram("compare --datasets demo/hopper-medium 2>/dev/null").exit_code, 2);
  EXPECT_THAT(RunProgram("compare --datasets demo/nothing --out x 2>&1").output,
              HasSubstr("demo/nothing"));
  EXPECT_THAT(RunProgram("compare --config nothing.toml --out x 2>&1").output,
              HasSubstr("nothing.toml: expected a config file"));
  EXPECT_THAT(RunProgram(Command("x", "--shard 3/3 2>&1")).output,
              HasSubstr("shard: expected I/N"));
  const auto usage = [&](const std::string& rest) {
    const ProgramResult result = RunProgram("compare --out x " + rest + " 2>&1");
    EXPECT_EQ(result.exit_code, 2) << rest;
    return result.output.substr(0, result.output.find('\n'));
  };
  const std::string demo = "--datasets demo/hopper-medium ", file = Data("hopper");
  EXPECT_EQ(usage(demo + "--seeds 0,0"), "seeds: expected each value once, found 0 twice");
  EXPECT_EQ(usage(demo + "--contexts 4,2,4"), "contexts: expected each value once, found 4 twice");
  EXPECT_EQ(usage(demo + "--attention softmax,softmax"),
            "attention: expected each value once, found softmax twice");
  EXPECT_EQ(usage(demo + "--baselines bc,bc"),
            "baselines: expected each value once, found bc twice");
  EXPECT_EQ(usage("--datasets " + file + "," + folder_ + "/./hopper.hdf5"),
            "datasets: expected each one once, found " + file + " and " + folder_ +
                "/./hopper.hdf5, which are the same file");
}

}  // namespace
}  // namespace cosdt
