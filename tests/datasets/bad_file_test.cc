// Files that somebody, or something, damaged.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <random>

#include "datasets/episodes.h"
#include "datasets/hdf5_file.h"
#include "datasets/hdf5_writer.h"
#include "datasets/policy_file.h"
#include "datasets/probe.h"
#include "datasets/transitions.h"
#include "tests/datasets/fuzz_file.h"
#include "tests/datasets/test_file.h"

// HDF5's library itself loses memory when it gives up a damaged file; asked by the leak sanitizer.
extern "C" const char* __lsan_default_suppressions();  // NOLINT: the sanitizer's name
extern "C" const char* __lsan_default_suppressions() { return "leak:libhdf5"; }

namespace cosdt::datasets {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

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
  for (size_t length = 997; length < whole.size(); length += 997) {
    Save(whole.substr(0, length));
    const std::string half =
        ": expected a readable HDF5 file, found half a file: " + std::to_string(length) + " of " +
        std::to_string(whole.size()) + " bytes";
    COSDT_EXPECT_FILE_ERROR(ReadEpisodes(path_), half);
    COSDT_EXPECT_FILE_ERROR(ProbeFile(path_), half);
  }
}

TEST_F(DamagedFileTest, ProbeAcceptsWhatIsWell) {
  for (const char* name : {"hopper_medium-v0.hdf5", "hopper_medium_replay-v1.hdf5",
                           "hopper_medium-v2.hdf5", "hopper_other-types.hdf5", "minari.hdf5"}) {
    EXPECT_NO_THROW(ProbeFile(Vintage(name))) << name;
  }
}

TEST_F(DamagedFileTest, ProbePassesTheChildsErrorOn) {
  TestFile file;
  std::string deep = "a";
  for (int i = 0; i < 20; ++i) deep += "/a";
  file.Array(deep, {1});
  COSDT_EXPECT_FILE_ERROR(ProbeFile(file.Close()), "expected at most 16 nested groups, found more");
}

TEST_F(DamagedFileTest, ProbeLeavesArraysThatNobodyNeedsAlone) {
  TestFile file;
  file.Array("a/b", {hsize_t{1} << 60}, {0}, {.chunk = {1 << 20}});
  EXPECT_NO_THROW(ProbeFile(file.Close()));
}

// A file in which a few bytes, anywhere, so of HDF5's metadata too, are others, or a part is gone.
std::string Mutate(std::string bytes, std::mt19937_64& rng) {
  constexpr uint64_t kFront = 4096;  // where most metadata of small files are
  for (uint64_t i = 1 + rng() % 8; i > 0; --i) {
    const uint64_t size = rng() % 2 ? bytes.size() : std::min<uint64_t>(kFront, bytes.size());
    char& byte = bytes[rng() % size];
    byte = rng() % 4 ? static_cast<char>(rng()) : static_cast<char>(byte ^ (1 << (rng() % 8)));
  }
  if (rng() % 16 == 0) bytes.resize(rng() % bytes.size());
  if (rng() % 16 == 0) {
    const uint64_t at = rng() % (bytes.size() + 1);
    bytes.insert(at, 1 + rng() % 64, '\xFF');
  }
  return bytes;
}

size_t MostMemory() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<size_t>(usage.ru_maxrss) * 1024;
}

// Whatever passes the probe, which every command of the program begins with, is read or refused.
template <typename Read>
void ReadMutated(const std::string& whole, int files, const Read& read) {
  constexpr size_t kMax = size_t{512} << 20;
  const std::string path =
      ::testing::TempDir() + "/cosdt_mutated_" + std::to_string(getpid()) + ".hdf5";
  const size_t before = MostMemory();
  std::mt19937_64 rng(1);
  int read_well = 0, refused = 0;
  for (int i = 0; i < files; ++i) {
    std::ofstream(path, std::ios::binary) << Mutate(whole, rng);
    try {
      ProbeFile(path);
      read(path);
      ++read_well;
    } catch (const FileError& error) {
      EXPECT_THAT(error.found(), Not(HasSubstr("no end of it"))) << "file " << i;
      ++refused;
    } catch (const std::exception& error) {
      ADD_FAILURE() << "file " << i << ": " << error.what();
    }
  }
  std::filesystem::remove(path);
  EXPECT_GT(read_well, files / 20);
  EXPECT_GT(refused, files / 20);
  EXPECT_LT(MostMemory() - before, kMax);
}

void ReadD4rl(const std::string& path) {
  ReadEpisodes(path, {.keep_partial = true, .threads = 2});
  ReadTransitions(D4rlFile(path));
}

void ReadMinari(const std::string& path) { ReadEpisodes(path, {.keep_partial = true}); }

void ReadPolicyAndOrigin(const std::string& path) {
  const Hdf5File file(path);
  ReadPolicy(file);
  ReadPolicyOrigin(file);
}

std::string SmallPolicy() {
  PolicyWeights policy;
  const auto layer = [](int outputs, int inputs) {
    return LinearWeights{inputs, outputs, std::vector<float>(outputs * inputs, 0.5f),
                         std::vector<float>(outputs, 0.25f)};
  };
  policy.fc0 = layer(16, 11);
  policy.fc1 = layer(16, 16);
  policy.last_fc = policy.last_fc_log_std = layer(3, 16);
  TestFile folder;
  const std::string path = folder.folder() + "/policy.hdf5";
  Hdf5Writer writer(path);
  WritePolicy(policy, writer);
  writer.Text("metadata/algorithm", "SAC");
  writer.Integer("metadata/iteration", 7);
  writer.Commit();
  return Bytes(path);
}

TEST(MutatedFileTest, D4rlFilesAreReadOrRefused) {
  ReadMutated(Bytes(Vintage("hopper_medium_replay-v1.hdf5")), 100, ReadD4rl);
}

TEST(MutatedFileTest, MinariFilesAreReadOrRefused) {
  ReadMutated(Bytes(Vintage("minari.hdf5")), 100, ReadMinari);
}

TEST(MutatedFileTest, PoliciesAreReadOrRefused) {
  ReadMutated(SmallPolicy(), 100, ReadPolicyAndOrigin);
}

TEST(MutatedFileSlowTest, AThousandOfEachFormatAreReadOrRefused) {
  for (const char* name : {"hopper_medium_replay-v1.hdf5", "hopper_other-types.hdf5"}) {
    ReadMutated(Bytes(Vintage(name)), 1000, ReadD4rl);
  }
  ReadMutated(Bytes(Vintage("minari.hdf5")), 1000, ReadMinari);
  ReadMutated(SmallPolicy(), 1000, ReadPolicyAndOrigin);
}

void Fuzz(int files, uint64_t seed) {
  const std::string path =
      ::testing::TempDir() + "/cosdt_fuzz_" + std::to_string(getpid()) + ".hdf5";
  std::mt19937_64 rng(seed);
  std::vector<uint8_t> bytes;
  for (int i = 0; i < files; ++i) {
    bytes.resize(rng() % 6000);
    for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(rng());
    ASSERT_NO_THROW(FuzzFile(bytes, path)) << "file " << i << " of seed " << seed;
  }
  std::filesystem::remove(path);
}

TEST(FuzzTest, WrongValuesShapesAndChunksAreErrorsAndNoCrash) { Fuzz(300, 1); }

TEST(FuzzSlowTest, WrongValuesShapesAndChunksAreErrorsAndNoCrash) { Fuzz(3000, 2); }

}  // namespace
}  // namespace cosdt::datasets
