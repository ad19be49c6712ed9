// The program as a user meets it: exit codes, messages, JSON.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>

#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <regex>

#include "experiments/scores/statistics.h"
#include "tests/program.h"

namespace cosdt::experiments {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;

nlohmann::json Rollout(const std::string& arguments) {
  const ProgramResult result = RunProgram("rollout --json " + arguments);
  EXPECT_EQ(result.exit_code, 0);
  return nlohmann::json::parse(result.output, nullptr, /*allow_exceptions=*/false);
}

TEST(ProgramTest, VersionNamesWhatItIsBuiltOn) {
  const ProgramResult result = RunProgram("--version");
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.output,
              ContainsRegex("^cosdt [0-9.]+\nLibTorch 2\\.[0-9.]+\nMuJoCo [0-9.]+\nHDF5 "
                            "[0-9.]+\nCUDA (none|[0-9.]+)\n$"));
}

TEST(ProgramTest, HelpIsNoError) {
  for (const char* arguments : {"--help", "rollout --help", "bench --help", "bench env --help"}) {
    EXPECT_EQ(RunProgram(arguments).exit_code, 0) << arguments;
  }
}

TEST(ProgramTest, WrongUsageExitsWith2) {
  for (const char* arguments : {"", "fly", "rollout", "rollout --env ant --policy random",
                                "rollout --env hopper --policy random --episodes 0",
                                "rollout --env hopper --policy random --physics mujoco",
                                "rollout --env hopper --policy random --seeding numpy",
                                "rollout --env hopper --policy random --seed x"}) {
    const ProgramResult result = RunProgram(std::string(arguments) + " 2>&1");
    EXPECT_EQ(result.exit_code, 2) << arguments;
    EXPECT_FALSE(result.output.empty()) << arguments;
  }
}

TEST(ProgramTest, UsageErrorsSayWhatWasExpected) {
  const auto message = [](const std::string& arguments) {
    return RunProgram("rollout --env hopper --policy random " + arguments + " 2>&1").output;
  };
  EXPECT_THAT(message("--physics 1"), HasSubstr("not in {d4rl,gymnasium-v4,gymnasium-v5}"));
  EXPECT_THAT(message("--seed -1"),
              HasSubstr("expected a whole number from 0 to 18446744073709551615, found -1"));
  EXPECT_THAT(message("--seed 18446744073709551616"), HasSubstr("found 18446744073709551616"));
  EXPECT_THAT(message("--threads 0"), HasSubstr("0 not in range"));
  EXPECT_THAT(message("--episodes 0"), HasSubstr("0 not in range"));
  EXPECT_THAT(message("--video film.gif"),
              HasSubstr("expected a name that ends in .mp4, found 'film.gif'"));
}

// The number that --help names as the default of --threads.
std::string DefaultThreadsOf(const std::string& command, const std::string& environment) {
  const std::string help = RunProgram(command + " --help", environment).output;
  std::smatch found;
  std::regex_search(help, found, std::regex("--threads [^\n=]*=([0-9]+)\\s"));
  return found.empty() ? "" : found[1].str();
}

TEST(ProgramTest, TheDefaultOfThreadsObeysAffinityAndVariables) {
  cpu_set_t all;
  ASSERT_EQ(sched_getaffinity(0, sizeof all, &all), 0);
  int cpu = 0;
  while (!CPU_ISSET(cpu, &all)) ++cpu;
  for (const char* command : {"train", "rollout"}) {
    EXPECT_EQ(DefaultThreadsOf(command, "taskset -c " + std::to_string(cpu)), "1") << command;
  }
  EXPECT_EQ(DefaultThreadsOf("train", "OMP_NUM_THREADS=1"), "1");
  EXPECT_EQ(DefaultThreadsOf("train", "SLURM_CPUS_PER_TASK=1"), "1");
  EXPECT_EQ(DefaultThreadsOf("compare", ""), "1");  // workers run side by side
}

TEST(ProgramTest, AResultThatCannotBeWrittenIsAnError) {
  for (const char* arguments :
       {"rollout --env hopper --policy random --episodes 2 --json", "--version"}) {
    const ProgramResult result = RunProgram(std::string(arguments) + " 2>&1 >/dev/full");
    EXPECT_EQ(result.exit_code, 1) << arguments;
    EXPECT_EQ(
        result.output,
        "cosdt: error: standard output: expected to write the result, found it closed or full\n");
  }
}

TEST(ProgramTest, ALackOfMemoryIsAnErrorLikeAnyOther) {
#if defined(__SANITIZE_ADDRESS__)
  GTEST_SKIP() << "the address sanitizer needs terabytes of addresses";
#endif
  const std::string command =
      "ulimit -v 2500000; '" COSDT_PROGRAM "' rollout --env hopper --policy random";
  for (const char* options : {" --threads 1000", " --episodes 10000000 --threads 8"}) {
    FILE* const pipe = popen((command + options + " 2>&1").c_str(), "r");
    char text[512] = "";
    const size_t size = fread(text, 1, sizeof text - 1, pipe);
    EXPECT_EQ(WEXITSTATUS(pclose(pipe)), 1) << options;
    EXPECT_THAT(std::string(text, size), ContainsRegex("^cosdt: error: [^\n]+\n$")) << options;
  }
}

TEST(ProgramTest, ErrorsAreOneLineAndExitWith1) {
  const ProgramResult result = RunProgram("rollout --env hopper --policy missing.hdf5 2>&1");
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_EQ(result.output,
            "cosdt: error: missing.hdf5: expected a readable HDF5 file, found none\n");
}

TEST(RolloutCommandTest, JsonHasEverythingToRepeatIt) {
  const nlohmann::json report = Rollout("--env hopper --policy random --episodes 12 --seed 3");
  for (const char* key : {"env", "physics", "mujoco_version", "torch_version", "seed", "seeding",
                          "episodes", "returns", "lengths", "mean", "std", "standard_error", "iqm",
                          "iqm_ci", "normalized_score", "normalized_score_ci", "diverged"}) {
    EXPECT_TRUE(report.contains(key)) << key;
  }
  EXPECT_EQ(report["env"], "hopper");
  EXPECT_EQ(report["physics"], "d4rl");
  EXPECT_EQ(report["seed"], 3);
  EXPECT_EQ(report["seeding"], "streams");
  EXPECT_FALSE(report.contains("comparison"));
  const std::vector<double> returns = report["returns"];
  ASSERT_EQ(returns.size(), 12u);
  EXPECT_EQ(report["mean"], Mean(returns));
  EXPECT_NEAR(report["normalized_score"], 100 * (Mean(returns) + 20.272305) / (3234.3 + 20.272305),
              1e-9);
}

TEST(RolloutCommandTest, ReportIsTheSameOnAnyNumberOfThreads) {
  const std::string common = "--env hopper --episodes 40 --seed 5 --policy demo/hopper-medium";
  const nlohmann::json one = Rollout(common + " --threads 1");
  EXPECT_EQ(Rollout(common + " --threads 2"), one);
  EXPECT_EQ(Rollout(common + " --threads 8"), one);
}

TEST(RolloutCommandTest, ZeroPolicyDoesNothing) {
  const nlohmann::json report = Rollout("--env halfcheetah --policy zero --episodes 2");
  EXPECT_NEAR(report["mean"], 0, 15);
}

TEST(RolloutCommandTest, WritesAVideo) {
  const std::string file = ::testing::TempDir() + "/rollout_" + std::to_string(getpid()) + ".mp4";
  EXPECT_EQ(RunProgram("rollout --env hopper --policy zero --episodes 2 --video " + file).exit_code,
            0);
  EXPECT_GT(std::filesystem::file_size(file), 1000u);
  std::filesystem::remove(file);
}

TEST(RolloutCommandTest, SaysThatEglIsMissing) {
  // no vendor's driver is found in an empty folder, as on a machine without one
  const ProgramResult result =
      RunProgram("rollout --env hopper --policy zero --episodes 1 --video never.mp4 2>&1",
                 "__EGL_VENDOR_LIBRARY_DIRS=/nonexistent");
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.output, HasSubstr("cosdt: error: rendering: expected an EGL device"));
  EXPECT_FALSE(std::filesystem::exists("never.mp4"));
}

TEST(RolloutCommandTest, SaysThatFfmpegIsMissing) {
  const ProgramResult result =
      RunProgram("rollout --env hopper --policy zero --episodes 1 --video never.mp4 2>&1",
                 "PATH=/nonexistent");
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.output,
              HasSubstr("never.mp4: expected the program ffmpeg, found: No such file"));
}

}  // namespace
}  // namespace cosdt::experiments
