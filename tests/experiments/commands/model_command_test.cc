#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>

#include "tests/program.h"
#include "tests/read_bytes.h"

namespace cosdt::experiments {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(ModelCommandTest, WritesD4rlsInertiasUnlessAnotherModeIsAskedFor) {
  const std::string file = ::testing::TempDir() + "/model_" + std::to_string(getpid()) + ".xml";
  const ProgramResult printed = RunProgram("model --env hopper");
  EXPECT_EQ(printed.exit_code, 0);
  EXPECT_THAT(printed.output, HasSubstr("<inertial mass="));
  EXPECT_EQ(RunProgram("model --env hopper --physics d4rl --out " + file).exit_code, 0);
  EXPECT_EQ(ReadBytes(file), printed.output);
  std::remove(file.c_str());
  EXPECT_THAT(RunProgram("model --env hopper --physics gymnasium-v4").output,
              Not(HasSubstr("<inertial")));
}

TEST(ModelCommandTest, RefusesWhatIsNoBody) {
  const ProgramResult task = RunProgram("model --env hopper-position 2>&1");
  EXPECT_EQ(task.exit_code, 2);
  EXPECT_THAT(task.output, HasSubstr("hopper-position not in"));
}

}  // namespace
}  // namespace cosdt::experiments
