// experiments/slurm.sh with stand-ins for Slurm's programs and for cosdt.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace cosdt {
namespace {

namespace fs = std::filesystem;

class SlurmTest : public testing::Test {
 protected:
  SlurmTest() {
    fs::create_directories(folder_);
    Write("srun", "exec \"$@\"");
    Write("scontrol", "echo \"$@\" >> " + (folder_ / "scontrol.log").string());
    // says what it got and stops as it is told
    Write("cosdt", "echo \"$@\" > " + (folder_ / "cosdt.log").string() + "; exit $COSDT_TEST_CODE");
  }
  ~SlurmTest() override { fs::remove_all(folder_); }

  // The job's exit code if cosdt's is `code`.
  int Run(int code, const std::string& arguments) const {
    const fs::path script = COSDT_SOURCE_DIR "/experiments/slurm.sh";
    const std::string command = "PATH=" + folder_.string() + ":$PATH SLURM_JOB_ID=42 " +
                                "COSDT_TEST_CODE=" + std::to_string(code) + " bash '" +
                                script.string() + "' " + arguments + " >/dev/null";
    const int status = std::system(command.c_str());
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

  std::string Read(const std::string& name) const {
    std::ostringstream text;
    text << std::ifstream(folder_ / name).rdbuf();
    return text.str();
  }

 private:
  void Write(const std::string& name, const std::string& line) const {
    std::ofstream(folder_ / name) << "#!/bin/sh\n" << line << "\n";
    fs::permissions(folder_ / name, fs::perms::owner_all);
  }

  fs::path folder_ = fs::path(testing::TempDir()) / ("slurm_" + std::to_string(getpid()));
};

TEST_F(SlurmTest, AStoppedJobIsQueuedAgainAndAFinishedOrFailedOneIsNot) {
  EXPECT_EQ(Run(0, "train --out 'a b' --resume"), 0);
  EXPECT_EQ(Read("cosdt.log"), "train --out a b --resume\n");
  EXPECT_EQ(Run(1, "train"), 1);
  EXPECT_EQ(Read("scontrol.log"), "");
  EXPECT_EQ(Run(128 + 10, "train"), 138);  // USR1: time is running out
  EXPECT_EQ(Run(128 + 15, "train"), 143);  // TERM: preempted
  EXPECT_EQ(Read("scontrol.log"), "requeue 42\nrequeue 42\n");
}

}  // namespace
}  // namespace cosdt
