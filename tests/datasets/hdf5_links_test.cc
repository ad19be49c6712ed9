// Data outside a file, or nowhere, is refused by name in both layouts; what nobody needs is
// not.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "datasets/episodes.h"
#include "datasets/hdf5_file.h"
#include "datasets/minari_file.h"
#include "datasets/policy_file.h"
#include "datasets/probe.h"
#include "tests/datasets/test_file.h"

namespace cosdt::datasets {
namespace {

using ::testing::Property;
using ::testing::StrEq;
using ::testing::Throws;

constexpr char kExpected[] = ": expected data within the file, found ";

void ExternalLink(const TestFile& file, const std::string& key, const std::string& target,
                  const std::string& object) {
  EXPECT_GE(H5Lcreate_external(target.c_str(), object.c_str(), file.id(), key.c_str(), H5P_DEFAULT,
                               H5P_DEFAULT),
            0);
}

void SoftLink(const TestFile& file, const std::string& key, const std::string& target) {
  EXPECT_GE(H5Lcreate_soft(target.c_str(), file.id(), key.c_str(), H5P_DEFAULT, H5P_DEFAULT), 0);
}

void Create(const TestFile& file, const std::string& key, std::vector<hsize_t> shape,
            hid_t properties) {
  const hid_t space = H5Screate_simple(static_cast<int>(shape.size()), shape.data(), nullptr);
  const hid_t dataset = H5Dcreate2(file.id(), key.c_str(), H5T_IEEE_F32LE, space, H5P_DEFAULT,
                                   properties, H5P_DEFAULT);
  EXPECT_GE(dataset, 0);
  H5Dclose(dataset);
  H5Sclose(space);
  H5Pclose(properties);
}

hid_t ExternalStorage(const std::string& name, hsize_t bytes) {
  const hid_t properties = H5Pcreate(H5P_DATASET_CREATE);
  H5Pset_external(properties, name.c_str(), 0, bytes);
  return properties;
}

hid_t VirtualOver(const std::string& name, const std::string& key, hsize_t rows, hsize_t width) {
  const hsize_t shape[2] = {rows, width};
  const hid_t space = H5Screate_simple(2, shape, nullptr);
  const hid_t properties = H5Pcreate(H5P_DATASET_CREATE);
  H5Pset_virtual(properties, space, name.c_str(), key.c_str(), space);
  H5Sclose(space);
  return properties;
}

void ExpectRefused(const std::string& path, const std::string& rest) {
  EXPECT_NO_THROW(ProbeFile(path));
  EXPECT_THAT([&] { ReadEpisodes(path); },
              Throws<FileError>(Property(&FileError::what, StrEq(path + ": " + rest))));
}

// Ten rows whose flags, if they were read, would be other ones.
class LinksTest : public ::testing::Test {
 protected:
  LinksTest() : part_("part.hdf5"), file_("file.hdf5") {
    part_.Hopper(10, {4, 9}).Flags("timeouts", 10, {2});
    part_path_ = part_.Close();
  }

  TestFile part_, file_;
  std::string part_path_;
};

TEST_F(LinksTest, SoftLinksWithinTheFileAreRead) {
  file_.Array("old/observations", {10, 11}, std::vector<double>(110, 0.25));
  file_.Array("actions", {10, 3}, std::vector<double>(30, 0.5));
  file_.Array("rewards", {10}).Flags("terminals", 10, {9});
  SoftLink(file_, "older", "/old");
  SoftLink(file_, "observations", "/older/observations");
  EXPECT_EQ(ReadEpisodes(file_.Close()).observations, FloatVector(110, 0.25f));
}

TEST_F(LinksTest, ExternalLinksAreRefusedWhereverTheyAreOnTheWay) {
  ExternalLink(file_, "observations", part_path_, "/observations");
  ExpectRefused(file_.Close(), std::string("observations") + kExpected + "an external link to " +
                                   part_path_ + ":/observations");
  TestFile behind;
  ExternalLink(behind, "part", part_path_, "/");
  for (const char* key : {"observations", "actions", "rewards", "terminals"}) {
    SoftLink(behind, key, std::string("/part/") + key);
  }
  // as a path's first part, a soft link's and one behind two of them
  COSDT_EXPECT_FILE_ERROR(Hdf5File(behind.Close()).Shape("part/observations"),
                          "part/observations: expected data within the file, found an "
                          "external link to " +
                              part_path_ + ":/");
  ExpectRefused(behind.Close(), std::string("observations") + kExpected + "an external link to " +
                                    part_path_ + ":/");
  TestFile twice;
  ExternalLink(twice, "part", part_path_, "/");
  SoftLink(twice, "parts", "part");
  SoftLink(twice, "observations", "/parts/observations");
  ExpectRefused(twice.Close(), std::string("observations") + kExpected + "an external link to " +
                                   part_path_ + ":/");
}

TEST_F(LinksTest, OptionalArraysBehindLinksAreNotTakenForMissing) {
  file_.Hopper(10, {9});
  ExternalLink(file_, "part", part_path_, "/");
  SoftLink(file_, "timeouts", "/part/timeouts");
  ExpectRefused(file_.Close(),
                "timeouts: expected data within the file, found an "
                "external link to " +
                    part_path_ + ":/");
  TestFile dangling;
  dangling.Hopper(10, {9});
  SoftLink(dangling, "timeouts", "/gone/timeouts");
  ExpectRefused(dangling.Close(),
                "timeouts: expected data within the file, found a soft link to "
                "/gone/timeouts, which is not there");
}

TEST_F(LinksTest, DanglingLinksAreCalledThat) {
  SoftLink(file_, "observations", "/gone");
  ExpectRefused(file_.Close(), std::string("observations") + kExpected +
                                   "a soft link to /gone, which is not there");
  TestFile circle;
  SoftLink(circle, "observations", "/observations");
  ExpectRefused(circle.Close(), std::string("observations") + kExpected +
                                    "a soft link to /observations, which is not there");
}

TEST_F(LinksTest, LinksThatNobodyNeedsDisturbNobody) {
  file_.Hopper(10, {4, 9});
  SoftLink(file_, "notes", "/gone");
  SoftLink(file_, "circle", "/circle");
  ExternalLink(file_, "missing", "/none/of/that.hdf5", "/");
  ExternalLink(file_, "part", part_path_, "/");
  Create(file_, "raw", {4}, ExternalStorage("raw.bin", 16));
  Create(file_, "virtual", {10, 11}, VirtualOver(part_path_, "observations", 10, 11));
  const std::string path = file_.Close();
  EXPECT_NO_THROW(ProbeFile(path));
  EXPECT_EQ(ReadEpisodes(path).size(), 2u);
}

TEST_F(LinksTest, DataInOtherFilesAreRefused) {
  Create(file_, "observations", {10, 11}, ExternalStorage("raw.bin", 440));
  ExpectRefused(file_.Close(),
                "observations: expected data within the file, found external storage in raw.bin");
  TestFile over;
  Create(over, "observations", {10, 11}, VirtualOver(part_path_, "observations", 10, 11));
  ExpectRefused(
      over.Close(),
      "observations: expected data within the file, found a virtual dataset over " + part_path_);
}

TEST_F(LinksTest, MinariEpisodesAreHeldToTheSame) {
  TestFile minari("minari.hdf5");
  minari.Array("episode_0/observations", {11, 11}).Array("episode_0/actions", {10, 3});
  minari.Array("episode_0/rewards", {10}).Flags("episode_0/terminations", 10, {9});
  TestFile flags, episodes, rows;
  for (TestFile* file : {&flags, &rows}) {
    file->Array("episode_0/observations", {11, 11}).Array("episode_0/actions", {10, 3});
    file->Flags("episode_0/terminations", 10, {9}).Flags("episode_0/truncations", 10, {});
  }
  const std::string other = minari.Close();
  ExternalLink(rows, "part", other, "/episode_0");
  SoftLink(rows, "episode_0/rewards", "/part/rewards");
  ExpectRefused(rows.Close(), std::string("episode_0/rewards") + kExpected +
                                  "an external link to " + other + ":/episode_0");
  ExternalLink(episodes, "episode_0", other, "/episode_0");
  ExpectRefused(episodes.Close(), std::string("episode_0/actions") + kExpected +
                                      "an external link to " + other + ":/episode_0");
  Create(flags, "episode_0/rewards", {10, 1}, VirtualOver(other, "episode_0/rewards", 10, 1));
  ExpectRefused(flags.Close(),
                "episode_0/rewards: expected data within the file, found a virtual "
                "dataset over " +
                    other);
}

TEST_F(LinksTest, PoliciesAreHeldToTheSame) {
  ExternalLink(file_, "metadata", part_path_, "/");
  COSDT_EXPECT_FILE_ERROR(
      ReadPolicy(Hdf5File(file_.Close())),
      "metadata/policy/nonlinearity: expected data within the file, found an external link "
      "to " +
          part_path_ + ":/");
}

}  // namespace
}  // namespace cosdt::datasets
