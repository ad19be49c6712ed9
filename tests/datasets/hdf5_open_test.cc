// The errors for HDF5 files that do not open.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "datasets/episodes.h"
#include "datasets/hdf5_file.h"
#include "datasets/hdf5_writer.h"
#include "datasets/probe.h"
#include "tests/datasets/test_file.h"
#include "tests/without_locks.h"

namespace cosdt::datasets {
namespace {

using ::testing::ExitedWithCode;
using ::testing::Property;
using ::testing::StrEq;
using ::testing::Throws;

// Opening directly, through the probe and as episodes gives the same line.
void ExpectFound(const std::string& path, const std::string& found) {
  const auto says = [&] {
    return Throws<FileError>(Property(
        &FileError::what, StrEq(path + ": expected a readable HDF5 file, found " + found)));
  };
  EXPECT_THAT([&] { Hdf5File file(path); }, says());
  EXPECT_THAT([&] { ProbeFile(path); }, says());
  EXPECT_THAT([&] { ReadEpisodes(path); }, says());
}

std::string Bytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

class Hdf5OpenTest : public ::testing::Test {
 protected:
  const std::string& Save(const std::string& bytes) {
    std::ofstream(path_, std::ios::binary) << bytes;
    return path_;
  }

  TestFile file_;
  std::string path_ = file_.folder() + "/other.hdf5";
};

TEST_F(Hdf5OpenTest, NamesWhatIsNoFile) {
  ExpectFound(path_, "none");
  ExpectFound(file_.folder(), "a folder");
  ExpectFound("/dev/zero", "a device");
  ASSERT_EQ(mkfifo(path_.c_str(), 0600), 0);
  ExpectFound(path_, "a FIFO");
}

TEST_F(Hdf5OpenTest, NamesWhatIsNoHdf5) {
  ExpectFound(Save(""), "an empty file");
  ExpectFound(Save("<!DOCTYPE html><html><body>403 Forbidden</body></html>\n"), "a web page");
  ExpectFound(Save("version https://git-lfs.github.com/spec/v1\n"),
              "a Git LFS pointer ('git lfs pull' fetches the file)");
}

TEST_F(Hdf5OpenTest, NamesHalfAFileWithBothSizes) {
  const std::string whole = Bytes(file_.Hopper(500, {499}).Close());
  const std::string size = std::to_string(whole.size());
  ExpectFound(Save(whole.substr(0, whole.size() / 2)),
              "half a file: " + std::to_string(whole.size() / 2) + " of " + size + " bytes");
  ExpectFound(Save(whole.substr(0, whole.size() - 1)),
              "half a file: " + std::to_string(whole.size() - 1) + " of " + size + " bytes");
  ExpectFound(Save(whole.substr(0, 20)), "only the beginning of one (20 bytes)");
}

TEST_F(Hdf5OpenTest, NamesAVersionThatIsNotKnown) {
  std::string newer = Bytes(file_.Hopper(5, {4}).Close());
  newer[8] = 9;  // the superblock's
  ExpectFound(Save(newer), NewerFormat());
}

TEST_F(Hdf5OpenTest, NamesDamage) {
  std::string damaged = Bytes(file_.Hopper(5, {4}).Close());
  damaged.replace(64, 4, "\x7F\x7F\x7F\x7F");  // where the root group lies
  ExpectFound(Save(damaged), "damage in its first structures");
}

// Writes a file as another process and leaves it as `end` does, while it is open.
template <typename End>
void InWriter(const std::string& path, H5F_libver_t version, const End& end) {
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    H5Pset_libver_bounds(access, version, H5F_LIBVER_LATEST);
    const hid_t file = H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, access);
    H5Fflush(file, H5F_SCOPE_GLOBAL);
    end();
    _exit(file >= 0 ? 0 : 1);
  }
  int status = 1;
  waitpid(child, &status, WUNTRACED);
  EXPECT_TRUE(WIFSTOPPED(status) || status == 0);
  if (!WIFSTOPPED(status)) return;
  ExpectFound(path, "one that another process has open for writing");
  kill(child, SIGKILL);
  waitpid(child, &status, 0);
}

TEST_F(Hdf5OpenTest, NamesAWriterThatHoldsTheFile) {
  InWriter(path_, H5F_LIBVER_EARLIEST, [] { raise(SIGSTOP); });
  InWriter(path_, H5F_LIBVER_LATEST, [] { raise(SIGSTOP); });
}

TEST_F(Hdf5OpenTest, NamesTheMarkOfAWriterThatCrashed) {
  InWriter(path_, H5F_LIBVER_LATEST, [] {});
  ExpectFound(path_,
              "one that is marked as open for writing, as a writer that crashed leaves it "
              "('h5clear -s " +
                  path_ + "' clears the mark)");
}

TEST_F(Hdf5OpenTest, ReadsWithoutLocksWhereThereAreNoneAndSaysSoOnce) {
  const std::string path = file_.Hopper(20, {9, 19}).Close();
  for (const int error : {ENOSYS, ENOLCK, EOPNOTSUPP}) {
    EXPECT_EXIT(
        {
          RefuseLocks(error);
          ProbeFile(path);
          const bool right = ReadEpisodes(path).size() == 2 && ReadEpisodes(path).rows() == 20;
          std::exit(right ? 0 : 1);
        },
        ExitedWithCode(0),
        StrEq("cosdt: " + path + ": its file system has no locks (" + std::strerror(error) +
              "): continuing without; nothing tells whether another process uses the file\n"));
  }
}

TEST_F(Hdf5OpenTest, NamesTheVariableThatAsksForALock) {
  const std::string path = file_.Hopper(20, {19}).Close();
  EXPECT_EXIT(
      {
        setenv("HDF5_USE_FILE_LOCKING", "TRUE", 1);
        RefuseLocks(ENOLCK);
        ExpectFound(path,
                    "no lock for it, which HDF5_USE_FILE_LOCKING asks for: No locks available");
        std::exit(::testing::Test::HasFailure() ? 1 : 0);
      },
      ExitedWithCode(0), StrEq(""));
}

TEST_F(Hdf5OpenTest, WritesWithoutLocks) {
  EXPECT_EXIT(
      {
        RefuseLocks(ENOLCK);
        Hdf5Writer writer(path_);
        writer.Flags("terminals", std::vector<uint8_t>{1});
        writer.Commit();
        std::exit(std::filesystem::exists(path_) ? 0 : 1);
      },
      ExitedWithCode(0), StrEq(""));
}

}  // namespace
}  // namespace cosdt::datasets
