// What the program is given to read and cannot: one line at once, whichever command reads it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>

#include "tests/program.h"
#include "tests/without_locks.h"

namespace cosdt {
namespace {

using ::testing::ExitedWithCode;

// Killed, with another exit code, should it wait.
ProgramResult RunAtOnce(const std::string& arguments) {
  return RunProgram(arguments + " 2>&1 </dev/null", "timeout -s KILL 60");
}

class InputFilesTest : public ::testing::Test {
 protected:
  InputFilesTest()
      : folder_(::testing::TempDir() + "/cosdt_input_" + std::to_string(getpid())),
        fifo_(folder_ + "/fifo") {
    std::filesystem::create_directories(folder_);
    mkfifo(fifo_.c_str(), 0600);
  }
  ~InputFilesTest() override { std::filesystem::remove_all(folder_); }

  void ExpectRefused(const std::string& arguments, const std::string& line) {
    const ProgramResult result = RunAtOnce(arguments);
    EXPECT_THAT(result.exit_code, ::testing::AnyOf(1, 2)) << arguments;
    EXPECT_EQ(result.output, line + "\n") << arguments;
  }

  std::string folder_, fifo_;
};

TEST_F(InputFilesTest, FifosAndDevicesAreRefusedAtOnceBySayingWhatTheyAre) {
  for (const auto& [path, kind] :
       {std::pair{fifo_, "a FIFO"}, std::pair{std::string("/dev/zero"), "a device"}}) {
    const std::string hdf5 =
        "cosdt: error: " + path + ": expected a readable HDF5 file, found " + kind;
    ExpectRefused("data info " + path, hdf5);
    ExpectRefused("data check " + path,
                  std::string("finding  file: expected a readable HDF5 file, found ") + kind);
    ExpectRefused("data concat " + path + " --out " + folder_ + "/out.hdf5", hdf5);
    ExpectRefused("train --dataset " + path + " --out " + folder_ + "/run --updates 1", hdf5);
    ExpectRefused("rollout --env hopper --episodes 1 --policy " + path, hdf5);
    ExpectRefused("train --config " + path + " --out " + folder_ + "/run",
                  "cosdt: error: " + path + ": expected a config file, found " + kind);
  }
}

TEST_F(InputFilesTest, AFifoInPlaceOfACheckpointIsRefusedAtOnce) {
  const std::string checkpoint = folder_ + "/last.safetensors";
  std::filesystem::rename(fifo_, checkpoint);
  ExpectRefused("eval " + folder_ + " --episodes 1",
                "cosdt: error: " + checkpoint + ": expected a readable file, found a FIFO");
}

TEST_F(InputFilesTest, WithoutLocksEverythingGoesOnWithOneWarning) {
  const std::string data = folder_ + "/random.hdf5";
  ASSERT_EQ(RunAtOnce("data collect --env hopper --policy random --transitions 400 --out " + data)
                .exit_code,
            0);
  EXPECT_EXIT(
      {
        RefuseLocks(ENOLCK);
        const ProgramResult run =
            RunAtOnce("train --dataset " + data + " --out " + folder_ + "/run --updates 1");
        EXPECT_EQ(run.exit_code, 0) << run.output;
        const std::string warning = "its file system has no locks (No locks available)";
        const size_t first = run.output.find(warning);
        EXPECT_NE(first, std::string::npos);
        EXPECT_EQ(run.output.find(warning, first + 1), std::string::npos);
        std::exit(HasFailure());
      },
      ExitedWithCode(0), "");
}

}  // namespace
}  // namespace cosdt
