#include "datasets/action_space.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "datasets/check.h"
#include "datasets/concat.h"
#include "datasets/episodes.h"
#include "datasets/file_error.h"
#include "datasets/hdf5_writer.h"
#include "datasets/transitions.h"
#include "tests/datasets/test_file.h"

namespace cosdt::datasets {
namespace {

using ::testing::ElementsAre;

Storage Int(hid_t type = H5T_STD_I64LE) {
  Storage storage;
  storage.type = type;
  return storage;
}

// A file of D4RL's layout with four rows of these actions.
std::string WriteRows(TestFile& file, const std::vector<hsize_t>& shape,
                      const std::vector<double>& actions, const Storage& storage) {
  file.Array("observations", {4, 2}).Array("rewards", {4}).Flags("terminals", 4, {3});
  file.Array("actions", shape, actions, storage);
  return file.Close();
}

void WriteText(TestFile& file, const std::string& key, const std::string& text) {
  const hid_t type = H5Tcopy(H5T_C_S1), space = H5Screate(H5S_SCALAR),
              links = H5Pcreate(H5P_LINK_CREATE);
  H5Tset_size(type, text.size());
  H5Pset_create_intermediate_group(links, 1);
  const hid_t dataset =
      H5Dcreate2(file.id(), key.c_str(), type, space, links, H5P_DEFAULT, H5P_DEFAULT);
  H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, text.data());
  H5Dclose(dataset);
  H5Pclose(links);
  H5Sclose(space);
  H5Tclose(type);
}

Transitions Game() {
  Transitions t;
  t.task = "popgym-repeat-first-easy";
  t.observation_size = 2;
  t.action_size = 1;
  t.discrete_actions = 4;
  t.observations.assign(6, 0);
  t.actions = {3, 0, 1};
  t.rewards.assign(3, 0.5f);
  t.terminals = {0, 0, 1};
  t.timeouts = {0, 0, 0};
  return t;
}

std::string Write(const TestFile& folder, const std::string& name, const Transitions& t) {
  const std::string path = folder.folder() + "/" + name;
  Hdf5Writer writer(path);
  WriteTransitions(t, writer);
  writer.Commit();
  return path;
}

TEST(ActionSpaceTest, OneIntegerPerRowIsAnIndex) {
  for (const hid_t type : {H5T_STD_I64LE, H5T_STD_I32LE, H5T_STD_U8LE}) {
    for (const std::vector<hsize_t>& shape : {std::vector<hsize_t>{4}, {4, 1}}) {
      TestFile file;
      const Episodes e = ReadEpisodes(WriteRows(file, shape, {2, 0, 5, 1}, Int(type)));
      EXPECT_EQ(e.discrete_actions, 6);  // no file says more
      EXPECT_EQ(e.action_size, 1);
      EXPECT_THAT(e.actions, ElementsAre(2, 0, 5, 1));
      EXPECT_EQ(e.env, "");
    }
  }
  TestFile floats, several;
  EXPECT_EQ(ReadEpisodes(WriteRows(floats, {4, 1}, {0, 1, 1, 0}, {})).discrete_actions, 0);
  EXPECT_EQ(ReadEpisodes(WriteRows(several, {4, 2}, {}, Int())).discrete_actions, 0);
}

TEST(ActionSpaceTest, WritesIntegersAndHowManyThereAre) {
  TestFile folder;
  const std::string path = Write(folder, "game.hdf5", Game());
  const Hdf5File file(path);
  const ArrayInfo info = file.Info("actions");
  EXPECT_EQ(info.type, NumberType::kInteger);
  EXPECT_EQ(info.bytes, 8u);
  EXPECT_THAT(info.shape, ElementsAre(3));
  EXPECT_EQ(file.ReadString(kActionSpaceKey), "Discrete(4)");
  const Episodes e = ReadEpisodes(path);
  EXPECT_EQ(e.discrete_actions, 4);
  EXPECT_THAT(e.actions, ElementsAre(3, 0, 1));
  const Transitions t = ReadTransitions(D4rlFile(path));
  EXPECT_EQ(t.discrete_actions, 4);
  EXPECT_THAT(t.actions, ElementsAre(3, 0, 1));
}

TEST(ActionSpaceTest, NamesTheRowAndTheValueThatIsOutOfRange) {
  for (const double wrong : {4.0, -1.0, 1e9}) {
    TestFile file;
    WriteText(file, kActionSpaceKey, "Discrete(4)");
    const std::string path = WriteRows(file, {4}, {3, 0, wrong, 1}, Int());
    const std::string value = std::to_string(static_cast<int64_t>(wrong));
    COSDT_EXPECT_FILE_ERROR(ReadEpisodes(path), path +
                                                    ": actions: expected an integer from 0 to 3, "
                                                    "found " +
                                                    value + " in row 2");
    const Transitions t = ReadTransitions(D4rlFile(path));
    const CheckReport report =
        CheckTransitions(path, t, CutEpisodes(t.terminals, t.timeouts, 10), {.horizon = 10});
    ASSERT_EQ(report.findings.size(), 1u);
    EXPECT_EQ(report.findings[0].code, "action_range");
    EXPECT_EQ(report.findings[0].key, "actions");
    EXPECT_EQ(report.findings[0].row, 2u);
    EXPECT_THAT(report.findings[0].detail,
                ::testing::StartsWith("expected an integer from 0 to 3, found " +
                                      (wrong == 1e9 ? "1e+09" : value) + ": out of range in 1"));
  }
  TestFile negative;  // wrong whatever n is
  COSDT_EXPECT_FILE_ERROR(ReadEpisodes(WriteRows(negative, {4}, {0, -2, 1, 1}, Int())),
                          "expected an integer from 0 to 1, found -2 in row 1");
}

TEST(ActionSpaceTest, RefusesAFileThatContradictsItself) {
  TestFile floats;
  WriteText(floats, kActionSpaceKey, "Discrete(4)");
  COSDT_EXPECT_FILE_ERROR(ReadEpisodes(WriteRows(floats, {4, 1}, {0, 1, 2, 3}, {})),
                          "actions: expected one integer per row, of Discrete(4), found 1 "
                          "continuous values");
  for (const char* text : {"Box(4)", "Discrete(0)", "Discrete(4", "Discrete(-1)", "Discrete(1e3)",
                           "Discrete(99999999)"}) {
    TestFile file;
    WriteText(file, kActionSpaceKey, text);
    COSDT_EXPECT_FILE_ERROR(
        ReadEpisodes(WriteRows(file, {4}, {0, 1, 2, 3}, Int())),
        std::string("metadata/action_space: expected Discrete(n) with n from 1 to 65536, found ") +
            text);
  }
  TestFile flat;
  COSDT_EXPECT_FILE_ERROR(ReadEpisodes(WriteRows(flat, {4}, {0, 1, 2, 3}, {})),
                          "actions: expected shape (N, size), found (4)");
}

TEST(ActionSpaceTest, FilesOfOtherKindsAreNotPutTogether) {
  TestFile folder, floats;
  Transitions other = Game();
  other.discrete_actions = 5;
  const std::string four = Write(folder, "four.hdf5", Game()),
                    five = Write(folder, "five.hdf5", other);
  COSDT_EXPECT_FILE_ERROR(
      ReadEpisodes({four, five}),
      five + ": actions: expected Discrete(4) as in " + four + ", found Discrete(5)");
  const std::string out = folder.folder() + "/out.hdf5";
  COSDT_EXPECT_FILE_ERROR(ConcatFiles({four, five}, out, 1, 1000), "found Discrete(5)");
  ConcatFiles({four, four}, out, 1, 1000);
  const Episodes both = ReadEpisodes(out);
  EXPECT_EQ(both.discrete_actions, 4);
  EXPECT_THAT(both.actions, ElementsAre(3, 0, 1, 3, 0, 1));
}

// Two episodes of Minari's layout; `space` is the attribute, if any.
std::string WriteMinari(TestFile& file, const std::string& space, const Storage& storage = Int()) {
  const double actions[2][3] = {{1, 0, 2}, {2, 2, 0}};
  for (int i = 0; i < 2; ++i) {
    const std::string group = "episode_" + std::to_string(i);
    file.Array(group + "/observations", {4, 2});
    const bool flat = storage.type != H5T_IEEE_F32LE;
    file.Array(group + "/actions", flat ? std::vector<hsize_t>{3} : std::vector<hsize_t>{3, 1},
               {actions[i][0], actions[i][1], actions[i][2]}, storage);
    file.Array(group + "/rewards", {3});
    file.Flags(group + "/terminations", 3, {2}).Flags(group + "/truncations", 3, {});
  }
  if (!space.empty()) {
    const hid_t type = H5Tcopy(H5T_C_S1), scalar = H5Screate(H5S_SCALAR);
    H5Tset_size(type, space.size());
    const hid_t attribute =
        H5Acreate2(file.id(), "action_space", type, scalar, H5P_DEFAULT, H5P_DEFAULT);
    H5Awrite(attribute, type, space.data());
    H5Aclose(attribute);
    H5Sclose(scalar);
    H5Tclose(type);
  }
  return file.Close();
}

TEST(ActionSpaceTest, ReadsMinarisDiscrete) {
  const std::string space = R"({"type": "Discrete", "dtype": "int64", "start": 0, "n": 7})";
  TestFile said, unsaid, in_folder("main_data.hdf5"), box;
  const Episodes e = ReadEpisodes(WriteMinari(said, space));
  EXPECT_EQ(e.discrete_actions, 7);
  EXPECT_EQ(e.action_size, 1);
  EXPECT_THAT(e.actions, ElementsAre(1, 0, 2, 2, 2, 0));
  EXPECT_EQ(ReadEpisodes(WriteMinari(unsaid, "")).discrete_actions, 3);
  EXPECT_EQ(ReadTransitions(MinariFile(said.Close())).discrete_actions, 7);
  std::ofstream(in_folder.folder() + "/metadata.json") << R"({"action_space": )" << space << "}";
  EXPECT_EQ(ReadEpisodes(WriteMinari(in_folder, "")).discrete_actions, 7);
  const std::string box_space = R"({"type": "Box", "low": [-Infinity], "high": [1.0]})";
  EXPECT_EQ(ReadEpisodes(WriteMinari(box, box_space, {})).discrete_actions, 0);
}

TEST(ActionSpaceTest, RefusesMinarisSpacesThatDoNotFit) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {R"({"type": "Discrete", "n": 7, "start": 1})",
       "action_space: expected a Discrete that starts from 0, found start 1"},
      {R"({"type": "Discrete", "n": 2.5})", "found n 2.5"},
      {R"({"type": "Discrete"})", "found n null"},
      {"[]", "expected gymnasium's space in JSON"},
      {R"({"type": "Discrete", "n": 2})", "expected an integer from 0 to 1, found 2 in row 2"}};
  for (const auto& [space, error] : cases) {
    TestFile file;
    COSDT_EXPECT_FILE_ERROR(ReadEpisodes(WriteMinari(file, space)), error);
  }
  TestFile floats;
  COSDT_EXPECT_FILE_ERROR(
      ReadEpisodes(WriteMinari(floats, R"({"type": "Discrete", "n": 3})", {})),
      "episode_0/actions: expected one integer per row, of Discrete(3), found 1 continuous values");
}

}  // namespace
}  // namespace cosdt::datasets
