// cosdt data as a user meets it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/program.h"
#include "tests/shared_files.h"

namespace cosdt::experiments {
namespace {

using ::testing::HasSubstr;

class DataCommandTest : public ::testing::Test {
 protected:
  DataCommandTest() : folder_(::testing::TempDir() + "/cosdt_data_" + std::to_string(getpid())) {
    std::filesystem::create_directories(folder_);
  }
  ~DataCommandTest() override { std::filesystem::remove_all(folder_); }

  nlohmann::json Json(const std::string& arguments, int exit_code = 0) {
    const ProgramResult result = RunProgram("data " + arguments + " --json 2>/dev/null");
    EXPECT_EQ(result.exit_code, exit_code) << arguments;
    return nlohmann::json::parse(result.output, nullptr, /*allow_exceptions=*/false);
  }

  std::string Collect(const std::string& name, const std::string& arguments) {
    const std::string path = folder_ + "/" + name;
    const ProgramResult result =
        RunProgram("data collect --out '" + path + "' " + arguments + " 2>&1");
    EXPECT_EQ(result.exit_code, 0) << result.output;
    return path;
  }

  std::string folder_;
};

TEST_F(DataCommandTest, CollectedFilesAreFitAndTellTheirPhysics) {
  const std::string d4rl =
      Collect("a.hdf5", "--env hopper --policy random --transitions 2000 --threads 1");
  const std::string gymnasium =
      Collect("b.hdf5", "--env hopper --policy random --transitions 2000 --physics gymnasium-v5");
  const nlohmann::json a = Json("check " + d4rl), b = Json("check " + gymnasium);
  EXPECT_EQ(a["verdict"], "d4rl");
  EXPECT_EQ(b["verdict"], "gymnasium-v5");
  EXPECT_TRUE(a["findings"].empty());
  EXPECT_EQ(a["env"], "hopper");
  EXPECT_LT(a["replay"]["d4rl"]["max"], 1e-5);
  EXPECT_GT(a["replay"]["gymnasium-v4"]["median"], 1e-3);
  EXPECT_EQ(b["notes"].back()["code"], "physics");
}

TEST_F(DataCommandTest, CollectedFilesAreTheSameForAnyThreads) {
  const std::string arguments = "--env halfcheetah --policy random --transitions 1500 --seed 4";
  const nlohmann::json one = Json("collect " + arguments + " --threads 1 --out " + folder_ + "/1");
  const nlohmann::json two = Json("collect " + arguments + " --threads 2 --out " + folder_ + "/2");
  EXPECT_EQ(one["dataset"]["sha256"], two["dataset"]["sha256"]);
  EXPECT_EQ(one["transitions"], 1500);
}

TEST_F(DataCommandTest, InfoHasTheNamesThatOthersRelyOn) {
  const std::string path =
      Collect("walker2d_random-v2.hdf5", "--env walker2d --policy random --transitions 1000");
  const nlohmann::json info = Json("info " + path);
  EXPECT_EQ(info["kind"], "random");
  EXPECT_EQ(info["version"], "v2");
  EXPECT_EQ(info["transitions"], 1000);
  EXPECT_EQ(info["partial_episodes"], 1);
  EXPECT_GT(info["episodes"], 10);
  EXPECT_EQ(info["env"], "walker2d");
  EXPECT_TRUE(info["known_as"].is_null());
  EXPECT_EQ(info["observation_mean"].size(), 17u);
  EXPECT_EQ(info["observation_std"].size(), 17u);
  for (const char* key : {"mean", "std", "min", "max"}) EXPECT_TRUE(info["return"].contains(key));
  for (const char* key : {"mean", "min", "max"}) EXPECT_TRUE(info["lengths"].contains(key));
  EXPECT_TRUE(info["normalized_score"].is_number());
  EXPECT_EQ(info["dataset"]["sha256"].get<std::string>().size(), 64u);
}

TEST_F(DataCommandTest, ANameOfD4rlsDoesNotMakeItD4rlsFile) {
  const std::string path =
      Collect("hopper_medium-v2.hdf5", "--env hopper --policy random --transitions 500");
  const nlohmann::json check = Json("check " + path, 1);
  std::vector<std::string> codes;
  for (const auto& f : check["findings"]) codes.push_back(f["code"]);
  EXPECT_THAT(codes, ::testing::ElementsAre("returns", "hash"));
  // the same file by its name in a data folder
  EXPECT_EQ(Json("check hopper-medium-v2 --data-dir " + folder_, 1)["findings"].size(), 2u);
}

TEST_F(DataCommandTest, ConcatFollowsItsInputs) {
  const std::string a = Collect("a.hdf5", "--env hopper --policy random --transitions 500");
  const std::string b = Collect("b.hdf5", "--env hopper --policy zero --transitions 500");
  const std::string out = folder_ + "/c.hdf5";
  EXPECT_EQ(RunProgram("data concat " + a + " " + b + " --out " + out).exit_code, 0);
  const nlohmann::json info_a = Json("info " + a), info_b = Json("info " + b),
                       info = Json("info " + out);
  EXPECT_EQ(info["episodes"].get<int>(),
            info_a["episodes"].get<int>() + info_b["episodes"].get<int>());
  EXPECT_EQ(info["partial_episodes"], 0);
}

TEST_F(DataCommandTest, ChecksAFilesOwnPolicy) {
  COSDT_NEEDS_SHARED("reference_policies/hopper-medium.hdf5");
  const std::string policy = SharedFile("reference_policies/hopper-medium.hdf5");
  const std::string path =
      Collect("p.hdf5", "--env hopper --policy '" + policy + "' --transitions 1000");
  const nlohmann::json check = Json("check " + path + " --episodes 4");
  EXPECT_EQ(check["policy_return"].size(), 3u);
  EXPECT_TRUE(check["policy_return"]["d4rl"]["standard_error"].is_number());
  // a mixture has no policy of its own
  const std::string mixture = Collect(
      "m.hdf5", "--env hopper --policy '" + policy + "=3' --policy random=1 --transitions 1000");
  EXPECT_TRUE(Json("check " + mixture)["policy_return"].empty());
}

TEST_F(DataCommandTest, DamagedFilesGetOneLine) {
  const std::string path = folder_ + "/text.hdf5";
  std::ofstream(path) << "text";
  const ProgramResult info = RunProgram("data info " + path + " 2>&1");
  EXPECT_EQ(info.exit_code, 1);
  EXPECT_EQ(info.output, "cosdt: error: " + path + ": expected a readable HDF5 file, found text\n");
  const ProgramResult check = RunProgram("data check " + path + " 2>&1");
  EXPECT_EQ(check.exit_code, 1);
  EXPECT_EQ(check.output, "finding  file: expected a readable HDF5 file, found text\n");
  const nlohmann::json json = Json("check " + path, 1);
  EXPECT_EQ(json["findings"][0]["code"], "file");
  EXPECT_TRUE(json["findings"][0]["key"].is_null());
}

TEST_F(DataCommandTest, WrongUsageIsNamed) {
  EXPECT_EQ(RunProgram("data 2>&1").exit_code, 2);
  EXPECT_EQ(RunProgram("data collect --env hopper 2>&1").exit_code, 2);
  const ProgramResult fetch = RunProgram("data fetch ant-medium-v2 2>&1");
  EXPECT_EQ(fetch.exit_code, 1);
  EXPECT_THAT(fetch.output, HasSubstr("expected one of demo/hopper-random"));
  const ProgramResult weight = RunProgram(
      "data collect --env hopper --policy random=x --transitions 5 --out " + folder_ + "/x 2>&1");
  EXPECT_EQ(weight.exit_code, 1);
  EXPECT_THAT(weight.output, HasSubstr("expected POLICY or POLICY=WEIGHT"));
  EXPECT_TRUE(std::filesystem::is_empty(folder_));
}

}  // namespace
}  // namespace cosdt::experiments
