// The program as a user meets it: exit codes, messages, JSON.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "experiments/statistics.h"
#include "tests/program.h"
#include "tests/shared_files.h"

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
  for (const char* key : {"env", "physics", "mujoco_version", "torch_version", "seed", "episodes",
                          "returns", "lengths", "mean", "std", "standard_error", "iqm", "iqm_ci",
                          "normalized_score", "normalized_score_ci", "diverged"}) {
    EXPECT_TRUE(report.contains(key)) << key;
  }
  EXPECT_EQ(report["env"], "hopper");
  EXPECT_EQ(report["physics"], "d4rl");
  EXPECT_EQ(report["seed"], 3);
  const std::vector<double> returns = report["returns"];
  ASSERT_EQ(returns.size(), 12u);
  EXPECT_EQ(report["mean"], Mean(returns));
  EXPECT_NEAR(report["normalized_score"], 100 * (Mean(returns) + 20.272305) / (3234.3 + 20.272305),
              1e-9);
}

TEST(RolloutCommandTest, ReportIsTheSameOnAnyNumberOfThreads) {
  COSDT_NEEDS_SHARED("reference_policies/hopper-medium.hdf5");
  const std::string common = "--env hopper --episodes 40 --seed 5 --policy " +
                             SharedFile("reference_policies/hopper-medium.hdf5");
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

// Returns that are known for policies made by others. The reference's own error is taken along.
struct Known {
  const char* env;
  const char* policy;
  const char* options;
  double mean;
  double standard_error;
  double length;  // 0 where not known
};

void PrintTo(const Known& known, std::ostream* out) { *out << known.env << " " << known.policy; }

class PublishedReturnSlowTest : public ::testing::TestWithParam<Known> {};

TEST_P(PublishedReturnSlowTest, ComesOutWithinThreeStandardErrors) {
  const Known& known = GetParam();
  std::string policy = known.policy;
  if (policy != "random") {
    COSDT_NEEDS_SHARED("reference_policies/" + policy);
    policy = SharedFile("reference_policies/" + policy);
  }
  const nlohmann::json report =
      Rollout(std::string("--env ") + known.env + " --policy " + policy + " " + known.options);
  const double error = std::hypot(report["standard_error"].get<double>(), known.standard_error);
  EXPECT_NEAR(report["mean"], known.mean, 3 * error);
  RecordProperty("mean", report["mean"].dump());
  if (known.length > 0) {
    const std::vector<double> lengths = report["lengths"];
    EXPECT_NEAR(Mean(lengths), known.length, 3 * StandardError(lengths) + 0.1);
  }
}

INSTANTIATE_TEST_SUITE_P(
    D4rlPhysics, PublishedReturnSlowTest,
    ::testing::Values(
        Known{"hopper", "hopper-medium.hdf5", "--episodes 200", 1827.5, 23, 0},
        Known{"hopper", "hopper-expert.hdf5", "--episodes 200 --deterministic", 3754.2, 0.9, 1000},
        Known{"halfcheetah", "halfcheetah-medium.hdf5", "--episodes 200", 5558, 5, 1000},
        Known{"halfcheetah", "halfcheetah-expert.hdf5", "--episodes 200 --deterministic", 12066, 24,
              1000},
        Known{"hopper", "random", "--episodes 4000", 18.3, 0.15, 22.1},
        Known{"halfcheetah", "random", "--episodes 200", -285, 6, 1000}));

// The same policies in gymnasium's body. The known means come without an error: that of 200
// episodes is assumed.
INSTANTIATE_TEST_SUITE_P(
    GymnasiumPhysics, PublishedReturnSlowTest,
    ::testing::Values(
        Known{"hopper", "hopper-medium.hdf5", "--episodes 200 --physics gymnasium-v4", 1311, 18, 0},
        Known{"hopper", "hopper-expert.hdf5",
              "--episodes 200 --deterministic --physics gymnasium-v4", 3288, 37, 0},
        Known{"halfcheetah", "halfcheetah-medium.hdf5", "--episodes 200 --physics gymnasium-v4",
              5459, 13, 1000},
        Known{"halfcheetah", "halfcheetah-expert.hdf5",
              "--episodes 200 --deterministic --physics gymnasium-v4", 12130, 33, 1000}));

}  // namespace
}  // namespace cosdt::experiments
