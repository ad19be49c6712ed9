// Files that somebody, or something, damaged.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>

#include "datasets/episodes.h"
#include "datasets/hdf5_file.h"
#include "datasets/probe.h"
#include "tests/datasets/fuzz_file.h"
#include "tests/datasets/test_file.h"

namespace cosdt::datasets {
namespace {

std::string Vintage(const std::string& name) {
  return COSDT_SOURCE_DIR "/tests/datasets/vintages/" + name;
}

std::string Bytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

class DamagedFileTest : public ::testing::Test {
 protected:
  DamagedFileTest()
      : path_(::testing::TempDir() + "/cosdt_damaged_" + std::to_string(getpid()) + ".hdf5") {}
  ~DamagedFileTest() override { std::filesystem::remove(path_); }

  void Save(const std::string& bytes) { std::ofstream(path_, std::ios::binary) << bytes; }

  std::string path_;
};

TEST_F(DamagedFileTest, TruncatedFilesAreNamedAtEveryLength) {
  const std::string whole = Bytes(Vintage("hopper_medium_replay-v1.hdf5"));
  for (size_t length = 0; length < whole.size(); length += 997) {
    Save(whole.substr(0, length));
    COSDT_EXPECT_FILE_ERROR(ReadEpisodes(path_), "expected a readable HDF5 file, found none");
    COSDT_EXPECT_FILE_ERROR(ProbeFile(path_), "expected a readable HDF5 file, found none");
  }
}

TEST_F(DamagedFileTest, TextAndFoldersAreNoHdf5Files) {
  Save("observations, actions, rewards\n");
  COSDT_EXPECT_FILE_ERROR(ReadEpisodes(path_), "expected a readable HDF5 file, found none");
  COSDT_EXPECT_FILE_ERROR(ReadEpisodes(::testing::TempDir()), "expected a readable HDF5 file");
  COSDT_EXPECT_FILE_ERROR(ReadEpisodes(path_ + ".missing"), "expected a readable HDF5 file");
}

TEST_F(DamagedFileTest, ProbeAcceptsWhatIsWell) {
  for (const char* name : {"hopper_medium-v0.hdf5", "hopper_medium_replay-v1.hdf5",
                           "hopper_medium-v2.hdf5", "hopper_other-types.hdf5", "minari.hdf5"}) {
    EXPECT_NO_THROW(ProbeFile(Vintage(name))) << name;
  }
}

TEST_F(DamagedFileTest, ProbePassesTheChildsErrorOn) {
  TestFile file;
  file.Array("a/b", {hsize_t{1} << 60}, {0}, {.chunk = {1 << 20}});
  const std::string path = file.Close();
  COSDT_EXPECT_FILE_ERROR(ProbeFile(path),
                          path + ": a/b: expected data for shape (1152921504606846976), found 0");
}

// Random bytes of the whole file, so of HDF5's metadata too, overwritten: what passes the probe is
// read without a crash, what does not is a FileError.
TEST_F(DamagedFileTest, DamagedMetadataIsAnErrorAndNoCrash) {
  const std::string whole = Bytes(Vintage("minari.hdf5"));
  std::mt19937 rng(1);
  int errors = 0;
  for (int i = 0; i < 150; ++i) {
    std::string damaged = whole;
    for (int j = 0; j < 8; ++j) damaged[rng() % damaged.size()] = static_cast<char>(rng());
    Save(damaged);
    try {
      ProbeFile(path_);
      ReadEpisodes(path_);
    } catch (const FileError&) {
      ++errors;
    }
  }
  EXPECT_GT(errors, 0);
}

void FuzzFor(double seconds, uint64_t seed) {
  const std::string path =
      ::testing::TempDir() + "/cosdt_fuzz_" + std::to_string(getpid()) + ".hdf5";
  std::mt19937_64 rng(seed);
  std::vector<uint8_t> bytes;
  const auto start = std::chrono::steady_clock::now();
  int files = 0;
  while (std::chrono::steady_clock::now() - start < std::chrono::duration<double>(seconds)) {
    bytes.resize(rng() % 6000);
    for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(rng());
    ASSERT_NO_THROW(FuzzFile(bytes, path)) << "file " << files << " of seed " << seed;
    ++files;
  }
  std::filesystem::remove(path);
  EXPECT_GT(files, 10);
}

TEST(FuzzTest, WrongValuesShapesAndChunksAreErrorsAndNoCrash) { FuzzFor(5, 1); }

TEST(FuzzSlowTest, WrongValuesShapesAndChunksAreErrorsAndNoCrash) { FuzzFor(120, 2); }

}  // namespace
}  // namespace cosdt::datasets
