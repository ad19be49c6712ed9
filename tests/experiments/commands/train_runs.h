// Tests of `cosdt train` on a small random dataset.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include "tests/program.h"

namespace cosdt {

class TrainTest : public testing::Test {
 protected:
  TrainTest() {
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
    EXPECT_EQ(
        RunProgram("data collect --env hopper --policy random --transitions 600 --out " + data_)
            .exit_code,
        0);
  }
  ~TrainTest() override { std::filesystem::remove_all(folder_); }

  ProgramResult Train(const std::string& out, const std::string& rest) const {
    return RunProgram("train --dataset " + data_ + " --out " + folder_ + "/" + out +
                      " --threads 1 --width 16 --layers 2 --context 4 --batch-size 4 --warmup 10 " +
                      rest);
  }

  // The same in the shell's folder `from`, by a shell that `before` prepares.
  ProgramResult TrainIn(const std::string& from, const std::string& rest,
                        const std::string& before = "") const {
    return RunProgram(
        "train --threads 1 --width 16 --layers 2 --context 4 --batch-size 4 --warmup 10 " + rest,
        "cd '" + from + "' && " + before);
  }

  std::filesystem::path Out(const std::string& path) const {
    return std::filesystem::path(folder_) / path;
  }

  std::string folder_ = testing::TempDir() + "train_" + std::to_string(getpid());
  std::string data_ = folder_ + "/hopper-random.hdf5";
};

}  // namespace cosdt
