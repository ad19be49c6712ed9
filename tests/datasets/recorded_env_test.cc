#include "datasets/recorded_env.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "datasets/concat.h"
#include "datasets/episodes.h"
#include "datasets/transitions.h"
#include "tests/datasets/small_file.h"
#include "tests/datasets/test_file.h"

namespace cosdt::datasets {
namespace {

using ::testing::ElementsAre;

// A root attribute, as h5py writes str (of any length) or np.bytes_ (of this length).
void WriteAttribute(const TestFile& file, const char* name, const std::string& text,
                    bool any_length = true) {
  const hid_t type = H5Tcopy(H5T_C_S1);
  H5Tset_size(type, any_length ? H5T_VARIABLE : text.size());
  H5Tset_cset(type, H5T_CSET_UTF8);
  const hid_t space = H5Screate(H5S_SCALAR);
  const hid_t attribute = H5Acreate2(file.id(), name, type, space, H5P_DEFAULT, H5P_DEFAULT);
  const char* const data = text.c_str();
  EXPECT_GE(H5Awrite(attribute, type, any_length ? static_cast<const void*>(&data) : data), 0);
  H5Aclose(attribute);
  H5Sclose(space);
  H5Tclose(type);
}

RecordedEnv OfSpec(const std::string& spec, bool any_length = true) {
  TestFile file;
  WriteAttribute(file, "env_spec", spec, any_length);
  return ReadRecordedEnv(Hdf5File(file.Close()));
}

TEST(RecordedEnvTest, GymnasiumsVersionsArePhysicsModes) {
  const auto expect = [](const RecordedEnv& found, const char* body, const char* physics) {
    EXPECT_EQ(found.source, "env_spec");
    ASSERT_NE(found.body, nullptr) << found.id;
    EXPECT_EQ(found.body->name, std::string(body));
    EXPECT_EQ(found.physics, physics) << found.id;
    EXPECT_EQ(found.unlike, "") << found.id;
  };
  const RecordedEnv hopper = OfSpec(
      R"({"id": "Hopper-v5", "entry_point": "gymnasium.envs.mujoco.hopper_v5:HopperEnv",
          "max_episode_steps": 1000, "kwargs": {"render_mode": "rgb_array"},
          "additional_wrappers": [], "vector_entry_point": null})");
  expect(hopper, "hopper", "gymnasium-v5");
  EXPECT_EQ(hopper.id, "Hopper-v5");
  EXPECT_EQ(hopper.horizon, 1000);
  expect(OfSpec(R"({"id": "HalfCheetah-v4"})", false), "halfcheetah", "gymnasium-v4");
  expect(OfSpec(R"({"id": "Walker2d-v3", "entry_point": "gym.envs.mujoco.walker2d_v3:W"})"),
         "walker2d", "d4rl");
  expect(OfSpec(R"({"id": "Hopper-v2"})"), "hopper", "d4rl");
  expect(OfSpec(R"({"id": "walker2d-medium-replay-v2"})"), "walker2d", "d4rl");
}

TEST(RecordedEnvTest, WhatChangesABodyIsNamed) {
  const auto expect = [](const char* spec, const char* unlike) {
    const RecordedEnv found = OfSpec(spec);
    ASSERT_NE(found.body, nullptr);
    EXPECT_EQ(found.physics, "");
    EXPECT_EQ(found.unlike, unlike);
  };
  expect(R"({"id": "Hopper-v5", "kwargs": {"frame_skip": 8, "width": 64}})", "frame_skip = 8");
  expect(R"({"id": "Hopper-v4", "max_episode_steps": 500})", "max_episode_steps = 500");
  expect(R"({"id": "Hopper-v4", "max_episode_steps": null})", "max_episode_steps = null");
  expect(R"({"id": "Hopper-v5", "entry_point": "mine:Env"})", "entry_point = mine:Env");
  expect(R"({"id": "Walker2d-v5", "additional_wrappers": [{"name": "NormalizeReward"}],
             "kwargs": {"xml_file": "w.xml"}})",
         "xml_file = \"w.xml\", wrapper \"NormalizeReward\"");
  expect(R"({"id": "Hopper-v6"})", "unknown version");
  expect(R"({"id": "Hopper"})", "unknown version");
}

TEST(RecordedEnvTest, OtherEnvironmentsAreNoBody) {
  for (const char* const id : {"Ant-v5", "mine/Hopper-v5", "Swimmer-v5"}) {
    const RecordedEnv found = OfSpec(std::string(R"({"id": ")") + id + "\"}");
    EXPECT_EQ(found.id, id);
    EXPECT_EQ(found.body, nullptr) << id;
    EXPECT_EQ(found.physics + found.unlike, "") << id;
    EXPECT_EQ(BodyOf(found, "hopper.hdf5", 11, 3, 1.25f), nullptr);
  }
}

TEST(RecordedEnvTest, ASpecThatIsNoneIsNamed) {
  for (const char* const spec : {"Hopper-v5", "{}", "{\"id\": 5}", "[", "{\"id\": \"Hopper-v5\""}) {
    COSDT_EXPECT_FILE_ERROR(OfSpec(spec),
                            "env_spec: expected gymnasium's EnvSpec in JSON, with an id, found");
  }
  TestFile file;
  const hid_t space = H5Screate(H5S_SCALAR);
  H5Aclose(H5Acreate2(file.id(), "env_spec", H5T_STD_I32LE, space, H5P_DEFAULT, H5P_DEFAULT));
  H5Sclose(space);
  COSDT_EXPECT_FILE_ERROR(ReadRecordedEnv(Hdf5File(file.Close())),
                          "env_spec: expected one string, found another type");
}

TEST(RecordedEnvTest, ReadsWhatPythonWritesAndNothingDeeperThanASpec) {
  const RecordedEnv range = OfSpec(
      R"({"id": "Hopper-v5", "kwargs": {"healthy_z_range": [0.5, Infinity], "note": "NaN \" NaN"}})");
  EXPECT_EQ(range.unlike, R"(healthy_z_range = [0.5,"Infinity"], note = "NaN \" NaN")");
  const std::string deep = std::string(200'000, '[') + std::string(200'000, ']');
  EXPECT_EQ(OfSpec(R"({"id": "Hopper-v5", "kwargs": {"deep": )" + deep + "}}").id, "Hopper-v5");
  const RecordedEnv steps = OfSpec(R"({"id": "Hopper-v5", "max_episode_steps": 4294967297})");
  EXPECT_EQ(steps.horizon, std::nullopt);
  EXPECT_EQ(steps.unlike, "max_episode_steps = 4294967297");
  const RecordedEnv watched = OfSpec(
      R"({"id": "Hopper-v5", "additional_wrappers": [{"name": "RecordEpisodeStatistics"}]})");
  EXPECT_EQ(watched.unlike, "");
  EXPECT_EQ(watched.physics, "gymnasium-v5");
}

TEST(RecordedEnvTest, NewerMinariHasItBesideTheFile) {
  const auto beside = [](const std::string& name, const std::string& text) {
    TestFile file(name);
    std::ofstream(file.folder() + "/metadata.json") << text;
    return ReadRecordedEnv(Hdf5File(file.Close()));
  };
  EXPECT_EQ(beside("main_data.hdf5", R"({"env_spec": "{\"id\": \"Hopper-v4\"}"})").physics,
            "gymnasium-v4");
  EXPECT_EQ(beside("main_data.hdf5", R"({"env_spec": {"id": "Hopper-v4"}})").physics,
            "gymnasium-v4");
  EXPECT_EQ(beside("main_data.hdf5", R"({"env_spec": null})").source, "");
  EXPECT_EQ(beside("other.hdf5", R"({"env_spec": {"id": "Hopper-v4"}})").source, "");
  COSDT_EXPECT_FILE_ERROR(beside("main_data.hdf5", "{"),
                          "metadata.json: expected a JSON object, found something else");
}

TEST(RecordedEnvTest, FilesThatDoNotSayAreReadAsBefore) {
  TestFile file("hopper_medium-v2.hdf5");
  file.Hopper(4, {3});
  const std::string path = file.Close();
  const RecordedEnv recorded = ReadRecordedEnv(Hdf5File(path));
  EXPECT_EQ(recorded.source + recorded.physics, "");  // D4RL's name alone does not make it D4RL's
  EXPECT_EQ(ReadEpisodes(path).env, "hopper");
  const RecordedEnv known = ReadRecordedEnv(Hdf5File(path), FindKnownFile("hopper-medium-v2"));
  EXPECT_EQ(known.physics, "d4rl");
  EXPECT_EQ(known.source, "the list of D4RL's files");
}

// walker2d's sizes are half cheetah's, and its height is unlike what GuessBody expects.
TEST(RecordedEnvTest, DecidesWhichBodyAFileIsOf) {
  const auto env = [](const std::string& spec) {
    TestFile file;
    if (!spec.empty()) WriteAttribute(file, "env_spec", spec);
    file.Array("observations", {2, 17}).Array("actions", {2, 6}).Array("rewards", {2});
    file.Flags("terminals", 2, {1});
    return ReadEpisodes(file.Close()).env;
  };
  EXPECT_EQ(env(""), "halfcheetah");
  EXPECT_EQ(env(R"({"id": "Walker2d-v5"})"), "walker2d");
  EXPECT_EQ(env(R"({"id": "Hopper-v5"})"), "");
  EXPECT_EQ(env(R"({"id": "Swimmer-v5"})"), "");
}

// A hopper's two rows with what WriteTransitions leaves of the physics.
std::string Written(const TestFile& folder, const std::string& name, const std::string& physics,
                    const std::string& version) {
  Transitions t;
  t.physics = physics;
  t.mujoco_version = version;
  return WriteSmallFile(folder, name, std::move(t));
}

TEST(RecordedEnvTest, OurOwnFilesSayTheirPhysicsAndSimulator) {
  const TestFile folder;
  const std::string path = Written(folder, "a.hdf5", "gymnasium-v5", "3.3.5");
  const RecordedEnv recorded = ReadRecordedEnv(Hdf5File(path));
  EXPECT_EQ(recorded.source, "metadata/physics");
  EXPECT_EQ(recorded.physics, "gymnasium-v5");
  EXPECT_EQ(recorded.mujoco_version, "3.3.5");
  const Transitions t = ReadTransitions(D4rlFile(path));
  EXPECT_EQ(t.physics, "gymnasium-v5");
  EXPECT_EQ(t.mujoco_version, "3.3.5");
  COSDT_EXPECT_FILE_ERROR(
      ReadRecordedEnv(Hdf5File(Written(folder, "b.hdf5", "mine", ""))),
      "metadata/physics: expected d4rl, gymnasium-v4 or gymnasium-v5, found mine");
}

TEST(RecordedEnvTest, FilesOfSeveralPhysicsAreNotConcatenated) {
  const TestFile folder;
  const std::string d4rl = Written(folder, "d4rl.hdf5", "d4rl", "3.3.5"),
                    older = Written(folder, "older.hdf5", "d4rl", "3.3.4"),
                    v5 = Written(folder, "v5.hdf5", "gymnasium-v5", "3.3.5"),
                    silent = Written(folder, "silent.hdf5", "", ""),
                    out = folder.folder() + "/out.hdf5";
  const auto concat = [&](const std::vector<std::string>& paths) {
    ConcatFiles(paths, out, 1);
    const RecordedEnv r = ReadRecordedEnv(Hdf5File(out));
    return std::vector<std::string>{r.physics, r.mujoco_version};
  };
  EXPECT_THAT(concat({v5, v5}), ElementsAre("gymnasium-v5", "3.3.5"));
  EXPECT_THAT(concat({d4rl, older}), ElementsAre("d4rl", ""));
  EXPECT_THAT(concat({silent, d4rl}), ElementsAre("", ""));
  EXPECT_THAT(concat({d4rl, silent}), ElementsAre("", ""));
  COSDT_EXPECT_FILE_ERROR(concat({d4rl, v5}),
                          v5 + ": physics: expected d4rl, as in " + d4rl + ", found gymnasium-v5");
  COSDT_EXPECT_FILE_ERROR(concat({v5, silent}), silent +
                                                    ": physics: expected gymnasium-v5, as in " +
                                                    v5 + ", found none, which stands for d4rl");
  TestFile changed;
  WriteAttribute(changed, "env_spec", R"({"id": "Hopper-v5", "kwargs": {"frame_skip": 8}})");
  changed.Hopper(2, {1});
  COSDT_EXPECT_FILE_ERROR(concat({changed.Close()}),
                          "env_spec: expected an environment of one of cosdt's physics modes, "
                          "found Hopper-v5 (frame_skip = 8)");
}

}  // namespace
}  // namespace cosdt::datasets
