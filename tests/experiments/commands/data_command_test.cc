// cosdt data as a user meets it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "datasets/minari_file.h"
#include "datasets/transitions.h"
#include "tests/datasets/test_file.h"
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

TEST_F(DataCommandTest, FilesTellTheirPhysics) {
  const std::string d4rl = Collect("a.hdf5", "--env hopper --policy random --transitions 500"),
                    v4 = Collect("b.hdf5",
                                 "--env hopper-delayed --policy random --transitions 500 "
                                 "--physics gymnasium-v4"),
                    maze = Collect("c.hdf5", "--env tmaze-10 --policy scripted --transitions 500");
  const nlohmann::json a = Json("info " + d4rl), b = Json("info " + v4);
  EXPECT_EQ(a["made_in"]["physics"], "d4rl");
  EXPECT_EQ(a["made_in"]["source"], "metadata/physics");
  EXPECT_EQ(a["made_in"]["mujoco_version"], Json("check " + d4rl)["mujoco_version"]);
  EXPECT_TRUE(a["made_in"]["env_id"].is_null());
  EXPECT_TRUE(a["made_by"].is_null());
  EXPECT_EQ(b["made_in"]["physics"], "gymnasium-v4");
  EXPECT_TRUE(Json("info " + maze)["made_in"].is_null());
  const std::string out = folder_ + "/out.hdf5";
  EXPECT_EQ(RunProgram("data concat " + v4 + " " + v4 + " --out " + out).exit_code, 0);
  EXPECT_EQ(Json("info " + out)["made_in"], b["made_in"]);
  EXPECT_THAT(
      RunProgram("data info " + v4).output,
      HasSubstr("\nmade in           gymnasium-v4 physics, as metadata/physics says (MuJoCo "));
  EXPECT_THAT(RunProgram("data info " + maze).output, HasSubstr("\nmade in           unknown\n"));
}

// What was collected in gymnasium-v5 physics, as a Minari file whose env_spec has this id.
class Minari : public datasets::TestFile {
 public:
  Minari(const std::string& collected, const std::string& id)
      : TestFile("main_data.hdf5"),
        t_(datasets::ReadTransitions(datasets::D4rlFile(collected))),
        cuts_(datasets::CutEpisodes(t_.terminals, t_.timeouts, 1000)) {
    std::ofstream(folder() + "/metadata.json")
        << nlohmann::json{{"env_spec", nlohmann::json{{"id", id}}.dump()}};
  }

  datasets::Transitions& rows() { return t_; }

  const std::string& Write() {
    for (size_t i = 0; i + 1 < cuts_.offsets.size(); ++i) {
      const size_t begin = cuts_.offsets[i], steps = cuts_.offsets[i + 1] - begin;
      const std::string group = "episode_" + std::to_string(i) + "/";
      const auto part = [&](const auto& from, size_t width) {
        const auto first = from.begin() + begin * width;
        return std::vector<double>(first, first + steps * width);
      };
      std::vector<double> observations = part(t_.observations, 11);
      const std::vector<double> next = part(t_.next_observations, 11);
      observations.insert(observations.end(), next.end() - 11, next.end());
      Array(group + "observations", {steps + 1, 11}, observations);
      Array(group + "actions", {steps, 3}, part(t_.actions, 3));
      Array(group + "rewards", {steps}, part(t_.rewards, 1));
      Array(group + "terminations", {steps}, part(t_.terminals, 1));
      Array(group + "truncations", {steps}, part(t_.timeouts, 1));
    }
    return Close();
  }

 private:
  datasets::Transitions t_;
  datasets::Cuts cuts_;
};

TEST_F(DataCommandTest, ChecksTheNumbersOfMinariFiles) {
  const std::string collected =
      Collect("a.hdf5", "--env hopper --policy random --transitions 2000 --physics gymnasium-v5");
  const auto codes = [](const nlohmann::json& list) {
    std::vector<std::string> found;
    for (const auto& f : list) found.push_back(f["code"]);
    return found;
  };
  using ::testing::ElementsAre;

  Minari fit(collected, "Hopper-v5");
  const nlohmann::json good = Json("check " + fit.Write());
  EXPECT_THAT(codes(good["findings"]), ElementsAre());
  EXPECT_THAT(codes(good["notes"]), ElementsAre("partial_episode", "minari", "physics"));
  EXPECT_EQ(good["verdict"], "gymnasium-v5");
  EXPECT_EQ(good["made_in"]["physics"], "gymnasium-v5");
  EXPECT_EQ(good["made_in"]["env_id"], "Hopper-v5");
  EXPECT_EQ(good["replayed"], 2000);

  Minari bad(collected, "Hopper-v2");
  bad.rows().rewards[7] = NAN;
  bad.rows().actions[33] = 1.5f;
  bad.rows().rewards[100] += 5;
  const nlohmann::json wrong = Json("check " + bad.Write(), 1);
  ASSERT_THAT(codes(wrong["findings"]),
              ElementsAre("not_finite", "action_range", "reward", "physics"));
  EXPECT_EQ(wrong["findings"][0]["row"], 7);
  EXPECT_EQ(wrong["findings"][1]["row"], 11);
  EXPECT_EQ(wrong["findings"][2]["row"], 100);
  EXPECT_EQ(wrong["findings"][3]["key"], "env_spec");
  EXPECT_EQ(wrong["findings"][3]["detail"], "says d4rl, the steps are gymnasium-v5's");

  Minari other(collected, "Hopper-v6");
  const nlohmann::json unlike = Json("check " + other.Write());
  EXPECT_TRUE(unlike["verdict"].is_null());
  EXPECT_THAT(codes(unlike["notes"]), ElementsAre("partial_episode", "minari", "env"));
  EXPECT_EQ(
      unlike["notes"][2]["detail"],
      "made in Hopper-v6 (unknown version), as env_spec says: its steps are not replayed, and "
      "motion and rewards are not checked against a body's");
  const std::string train = "train --agent bc --updates 1 --threads 1 --dataset " + other.Close();
  const ProgramResult refused = RunProgram(train + " --out " + folder_ + "/a 2>&1");
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_EQ(refused.output, "cosdt: error: " + other.Close() +
                                ": env_spec: expected an environment that cosdt "
                                "simulates, or --physics for the one to evaluate in, found "
                                "Hopper-v6 (unknown version)\n");
  const ProgramResult asked = RunProgram(train + " --physics d4rl --out " + folder_ + "/a 2>&1");
  EXPECT_EQ(asked.exit_code, 0);
  EXPECT_THAT(asked.output, HasSubstr("cosdt: warning: agents are evaluated in d4rl physics; " +
                                      other.Close() + " was made in Hopper-v6 (unknown version)"));
}

TEST_F(DataCommandTest, FlagsThatAreNoneAreAFindingWithItsRow) {
  datasets::TestFile file;
  file.Hopper(4, {3}).Array("timeouts", {4}, {0, 0, NAN, 0});
  const std::string path = file.Close();
  const nlohmann::json check = Json("check " + path, 1);
  ASSERT_EQ(check["findings"].size(), 1u);
  EXPECT_EQ(check["findings"][0]["code"], "flags");
  EXPECT_EQ(check["findings"][0]["key"], "timeouts");
  EXPECT_EQ(check["findings"][0]["row"], 2);
  EXPECT_EQ(RunProgram("data check " + path).output,
            "finding  flags: timeouts: row 2: expected 0 or 1, found nan\n");
  const ProgramResult info = RunProgram("data info " + path + " 2>&1");
  EXPECT_EQ(info.exit_code, 1);
  EXPECT_EQ(info.output,
            "cosdt: error: " + path + ": timeouts: row 2: expected 0 or 1, found nan\n");
}

TEST_F(DataCommandTest, AFolderNeverStandsForADataset) {
  std::filesystem::create_directories(folder_ + "/work/demo/hopper-random");
  const std::string cd = "cd " + folder_ + "/work &&";
  EXPECT_EQ(
      RunProgram("data fetch demo/hopper-random --transitions 500 --data-dir ../data 2>&1", cd)
          .exit_code,
      0);
  const ProgramResult demo =
      RunProgram("data info demo/hopper-random --data-dir ../data 2>/dev/null", cd);
  EXPECT_EQ(demo.exit_code, 0);
  EXPECT_THAT(demo.output, HasSubstr("file              ../data/demo/hopper-random.hdf5\n"));
  EXPECT_EQ(RunProgram("data info demo 2>&1", cd).output,
            "cosdt: error: demo: expected a file or the name of one of D4RL's, found a folder\n");
  EXPECT_EQ(
      RunProgram("data collect --env hopper --policy random --transitions 5 --out demo 2>&1", cd)
          .output,
      "cosdt: error: demo: expected a file to write, found a folder\n");
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
