#include "experiments/scores/monitor_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "datasets/file_error.h"

namespace cosdt::experiments {
namespace {

using ::testing::ElementsAre;
using ::testing::Property;
using ::testing::StrEq;
using ::testing::Throws;

class MonitorFileTest : public ::testing::Test {
 protected:
  ~MonitorFileTest() override { std::filesystem::remove(path_); }

  MonitorFile ReadText(const std::string& text) const {
    std::ofstream(path_) << text;
    return ReadMonitorFile(path_);
  }

  void ExpectError(const std::string& text, const std::string& message) const {
    EXPECT_THAT([&] { ReadText(text); }, Throws<datasets::FileError>(Property(
                                             &std::runtime_error::what, StrEq(path_ + message))));
  }

  const std::string path_ = ::testing::TempDir() + "/monitor_" + std::to_string(getpid()) + ".csv";
};

constexpr const char* kHead = "#{\"t_start\": 1.5, \"env_id\": \"Hopper-v3\"}\nr,l,t\r\n";

TEST_F(MonitorFileTest, ReadsReturnsAndLengths) {
  const MonitorFile file = ReadText(kHead + std::string("1230.5,329,0.28\r\n-2e1,1000,1.1\r\n"));
  EXPECT_EQ(file.env_id, "Hopper-v3");
  EXPECT_THAT(file.returns, ElementsAre(1230.5, -20));
  EXPECT_THAT(file.lengths, ElementsAre(329, 1000));
}

TEST_F(MonitorFileTest, FurtherColumnsAreLeftAlone) {
  const MonitorFile file = ReadText("#{}\nr,l,t,note\n1,2,3,\"a, b\"\n");
  EXPECT_EQ(file.env_id, "");
  EXPECT_THAT(file.returns, ElementsAre(1));
}

TEST_F(MonitorFileTest, WhatIsNoMonitorFileIsNamedByItsLine) {
  const std::string row = ": line 3: expected a return, a length and a time, found '";
  ExpectError("r,l,t\n1,2,3\n",
              ": line 1: expected a Monitor file's '#' and JSON object, found 'r,l,t'");
  ExpectError("\x89HDF\r\n" + std::string(1, '\0'),
              ": line 1: expected a Monitor file's '#' and JSON object, found '?HDF'");
  ExpectError("#" + std::string(1000, 'x'),
              ": line 1: expected a Monitor file's '#' and JSON object, found '#" +
                  std::string(59, 'x') + "..'");
  ExpectError("", ": line 1: expected a Monitor file's '#' and JSON object, found ''");
  ExpectError("#{}\nreward,l,t\n", ": line 2: expected the columns r,l,t, found 'reward,l,t'");
  ExpectError(kHead, ": expected at least one episode, found none");
  for (const char* bad : {"1,2", "x,2,3", "nan,2,3", "1,0,3", "1,2.5,3", "1 ,2,3", ""}) {
    ExpectError(kHead + std::string(bad) + "\n", row + bad + "'");
  }
  EXPECT_THAT(
      [] { ReadMonitorFile("missing.csv"); },
      Throws<datasets::FileError>(Property(
          &std::runtime_error::what, StrEq("missing.csv: expected a readable file, found none"))));
}

TEST_F(MonitorFileTest, OnlyEpisodesOfTheSameBodyCompare) {
  const MonitorFile file = ReadText(kHead + std::string("1,2,3\n1,2,3\n"));
  CheckComparable(file, "hopper", 2);
  CheckComparable(file, "hopper-position", 1);
  EXPECT_THAT(
      [&] { CheckComparable(file, "walker2d", 2); },
      Throws<datasets::FileError>(Property(
          &std::runtime_error::what,
          StrEq(path_ + ": env_id: expected an environment of walker2d, found Hopper-v3"))));
  EXPECT_THAT([&] { CheckComparable(file, "hopper", 3); },
              Throws<datasets::FileError>(Property(
                  &std::runtime_error::what,
                  StrEq(path_ + ": expected at least the 3 episodes asked for, found 2"))));
}

TEST_F(MonitorFileTest, CountsWhatEpisodesHaveInCommon) {
  const MonitorFile file{"m.csv", "", {100, 200, 300, 4000}, {10, 20, 30, 40}};
  const agents::RolloutResult result{.returns = {100.05, 200.2, 299.95}, .lengths = {10, 20, 31}};
  const nlohmann::json comparison = CompareEpisodes(result, file);
  EXPECT_EQ(comparison["file"], "m.csv");
  EXPECT_EQ(comparison["episodes"], 3);
  EXPECT_EQ(comparison["equal_lengths"], 2);
  EXPECT_EQ(comparison["returns_within_0.1"], 2);
  EXPECT_NEAR(comparison["mean"], 600.2 / 3, 1e-9);
  EXPECT_EQ(comparison["file_mean"], 200);
}

}  // namespace
}  // namespace cosdt::experiments
