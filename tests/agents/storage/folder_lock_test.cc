#include "agents/storage/folder_lock.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "tests/without_locks.h"

namespace cosdt::agents {
namespace {

using ::testing::ExitedWithCode;
using ::testing::StrEq;
using ::testing::ThrowsMessage;

class FolderLockTest : public ::testing::Test {
 protected:
  FolderLockTest() : folder_(::testing::TempDir() + "/cosdt_lock_" + std::to_string(getpid())) {}
  ~FolderLockTest() override { std::filesystem::remove_all(folder_); }
  std::string folder_;
};

TEST_F(FolderLockTest, KeepsOtherProcessesOutUntilItEnds) {
  {
    const FolderLock lock(folder_);
    const std::string in_use = folder_ +
                               ": expected a folder that no other process works in, found it in "
                               "use by process " +
                               std::to_string(getpid());
    EXPECT_EXIT(
        {
          EXPECT_THAT([&] { FolderLock second(folder_); }, ThrowsMessage<FolderInUse>(in_use));
          EXPECT_TRUE(FolderLock::IsHeldElsewhere(folder_));
          std::exit(HasFailure());
        },
        ExitedWithCode(0), StrEq(""));
  }
  EXPECT_FALSE(FolderLock::IsHeldElsewhere(folder_));
  EXPECT_NO_THROW(FolderLock{folder_});
}

TEST_F(FolderLockTest, ContinuesIfThereAreNoLocksAndSaysSoOnce) {
  for (const int error : {ENOSYS, ENOLCK, EOPNOTSUPP}) {
    EXPECT_EXIT(
        {
          RefuseLocks(error);
          const FolderLock first(folder_);
          const FolderLock second(folder_ + "/inner");
          std::exit(FolderLock::IsHeldElsewhere(folder_));
        },
        ExitedWithCode(0),
        StrEq("cosdt: " + folder_ + "/lock: its file system has no locks (" + std::strerror(error) +
              "): continuing without; nothing tells whether another process uses the file\n"));
  }
}

TEST_F(FolderLockTest, OtherFailuresAreErrors) {
  EXPECT_EXIT(
      {
        RefuseLocks(EIO);
        EXPECT_THAT([&] { FolderLock lock(folder_); },
                    ThrowsMessage<std::runtime_error>(
                        folder_ + "/lock: cannot be locked: Input/output error"));
        std::exit(HasFailure());
      },
      ExitedWithCode(0), StrEq(""));
}

}  // namespace
}  // namespace cosdt::agents
