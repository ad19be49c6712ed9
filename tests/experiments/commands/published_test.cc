// Returns that others published for their agents, with d4rl physics (tests/published has both).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <vector>

#include "experiments/scores/monitor_file.h"
#include "experiments/scores/statistics.h"
#include "tests/program.h"

namespace cosdt::experiments {
namespace {

using ::testing::HasSubstr;

const std::string kFolder = COSDT_SOURCE_DIR "/tests/published/";

// Plays the agent as its publisher did, and as many episodes unless told otherwise.
std::string Repeat(const std::string& env, const std::string& agent) {
  return "rollout --deterministic --seeding gym --seed 0 --env " + env + " --policy '" + kFolder +
         agent + ".hdf5' --compare '" + kFolder + agent + ".monitor.csv' ";
}

nlohmann::json RepeatAsJson(const std::string& env, const std::string& agent,
                            const std::string& options = "") {
  const ProgramResult result = RunProgram(Repeat(env, agent) + options + " --json");
  EXPECT_EQ(result.exit_code, 0);
  return nlohmann::json::parse(result.output, nullptr, /*allow_exceptions=*/false);
}

TEST(PublishedEpisodesTest, TheFirstOnesRepeat) {
  const nlohmann::json report = RepeatAsJson("hopper", "sac-Hopper-v3", "--episodes 6");
  EXPECT_EQ(report["seeding"], "gym");
  EXPECT_EQ(report["comparison"]["episodes"], 6);
  EXPECT_EQ(report["comparison"]["equal_lengths"], 6);
  // chaos has not grown the rounding of another processor to 0.1 in these 329 steps
  EXPECT_NEAR(report["returns"][0], 1230.760681, 0.1);
}

TEST(PublishedEpisodesTest, TheCountIsPrinted) {
  const ProgramResult result = RunProgram(Repeat("hopper", "sac-Hopper-v3") + "--episodes 2");
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.output,
              HasSubstr("hopper, d4rl physics, 2 episodes, seed 0 by gym's seeding\n"));
  EXPECT_THAT(result.output, HasSubstr("\nagainst            " + kFolder));
  EXPECT_THAT(result.output, HasSubstr("\nequal lengths      2 of 2\nreturns within 0.1 "));
  EXPECT_THAT(result.output, HasSubstr(", the file's 2424.7\n"));
}

TEST(PublishedEpisodesTest, AnotherBodysEpisodesAreRefused) {
  const ProgramResult result = RunProgram("rollout --env walker2d --policy zero --compare '" +
                                          kFolder + "sac-Hopper-v3.monitor.csv' 2>&1");
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.output,
              HasSubstr("env_id: expected an environment of walker2d, found Hopper-v3\n"));
}

TEST(PublishedEpisodesSlowTest, AllOfSacHopperRepeat) {
  const nlohmann::json comparison = RepeatAsJson("hopper", "sac-Hopper-v3")["comparison"];
  EXPECT_EQ(comparison["episodes"], 236);
  // measured: 235 and 134; the rest is rounding of the policy, which differs between processors
  EXPECT_GE(comparison["equal_lengths"], 230);
  EXPECT_GE(comparison["returns_within_0.1"], 110);
  EXPECT_NEAR(comparison["mean"], comparison["file_mean"], 5);
  RecordProperty("comparison", comparison.dump());
}

TEST(PublishedEpisodesSlowTest, GymnasiumsBodyRepeatsNone) {
  const nlohmann::json comparison =
      RepeatAsJson("hopper", "sac-Hopper-v3", "--physics gymnasium-v4")["comparison"];
  EXPECT_LE(comparison["equal_lengths"], 5);
  EXPECT_EQ(comparison["returns_within_0.1"], 0);
  EXPECT_LT(comparison["mean"], 1400);
}

struct Agent {
  std::string env, name;
};

class PublishedReturnSlowTest : public ::testing::TestWithParam<Agent> {};

TEST_P(PublishedReturnSlowTest, ComesOutWithinThreeStandardErrors) {
  const auto& [env, name] = GetParam();
  const nlohmann::json report = RepeatAsJson(env, name);
  const std::vector<double> published = ReadMonitorFile(kFolder + name + ".monitor.csv").returns;
  const double error = std::hypot(report["standard_error"].get<double>(), StandardError(published));
  EXPECT_NEAR(report["mean"], Mean(published), 3 * error);
  RecordProperty("comparison", report["comparison"].dump());
}

INSTANTIATE_TEST_SUITE_P(Agents, PublishedReturnSlowTest,
                         ::testing::Values(Agent{"hopper", "tqc-Hopper-v3"},
                                           Agent{"halfcheetah", "tqc-HalfCheetah-v3"},
                                           Agent{"walker2d", "sac-Walker2d-v3"}),
                         [](const auto& test) { return test.param.env; });

// Returns measured by others in the same physics, with their standard errors.
struct Known {
  std::string env, options;
  double mean, standard_error;
  double length;  // 0 if not known
};

void PrintTo(const Known& known, std::ostream* out) { *out << known.env << " " << known.options; }

class KnownReturnSlowTest : public ::testing::TestWithParam<Known> {};

TEST_P(KnownReturnSlowTest, ComesOutWithinThreeStandardErrors) {
  const Known& known = GetParam();
  const ProgramResult result = RunProgram("rollout --json --env " + known.env + known.options);
  ASSERT_EQ(result.exit_code, 0);
  const nlohmann::json report = nlohmann::json::parse(result.output);
  const double error = std::hypot(report["standard_error"].get<double>(), known.standard_error);
  EXPECT_NEAR(report["mean"], known.mean, 3 * error);
  RecordProperty("mean", report["mean"].dump());
  if (known.length > 0) {
    const std::vector<double> lengths = report["lengths"];
    EXPECT_NEAR(Mean(lengths), known.length, 3 * StandardError(lengths) + 0.1);
  }
}

std::string Policy(const std::string& agent) {
  return " --policy '" + kFolder + agent + ".hdf5' --deterministic --physics gymnasium-v4";
}

// The agents' means come without an error: that of 200 episodes is assumed.
INSTANTIATE_TEST_SUITE_P(
    Physics, KnownReturnSlowTest,
    ::testing::Values(Known{"hopper", " --policy random --episodes 4000", 18.3, 0.15, 22.1},
                      Known{"halfcheetah", " --policy random --episodes 200", -285, 6, 1000},
                      Known{"hopper", Policy("sac-Hopper-v3") + " --episodes 200", 1171.6, 27, 0},
                      Known{"hopper", Policy("tqc-Hopper-v3") + " --episodes 200", 3288, 37, 0},
                      Known{"halfcheetah", Policy("tqc-HalfCheetah-v3") + " --episodes 200", 12130,
                            33, 1000}));

}  // namespace
}  // namespace cosdt::experiments
