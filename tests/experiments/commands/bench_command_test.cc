#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/program.h"

namespace cosdt {
namespace {

using nlohmann::json;
using testing::HasSubstr;

json Bench(const std::string& arguments) {
  const ProgramResult result = RunProgram("bench " + arguments + " --json 2>/dev/null");
  EXPECT_EQ(result.exit_code, 0) << arguments;
  return json::parse(result.output, nullptr, /*allow_exceptions=*/false);
}

// Rows that are measurements; in JSON a number that is not finite is null, which is above nothing.
void ExpectRows(const json& report, size_t at_least) {
  ASSERT_TRUE(report.contains("rows"));
  EXPECT_GE(report["rows"].size(), at_least);
  for (const json& row : report["rows"]) {
    EXPECT_GT(row["value"], 0) << row;
    if (row["against"] != "") {
      EXPECT_GT(row["ratio"], 0) << row;
    }
  }
}

TEST(BenchCommandTest, AttentionAtShapes) {
  const json report = Bench("attention --device cpu --shapes 2x1x60x16,1x2x100x32 --repeats 1");
  ExpectRows(report, 2 * 2 * 3 * 4);  // shapes, types, passes; times, two shares and the other's
  EXPECT_EQ(report["device"], "cpu");
  const json& first = report["rows"][0];
  EXPECT_EQ(first["case"], "cosformer bf16, B 2, H 1, L 60, d 16");
  EXPECT_EQ(first["metric"], "forward");
  EXPECT_EQ(first["unit"], "ms");
  EXPECT_THAT(first["against"].get<std::string>(), HasSubstr("scaled_dot_product_attention, "));
  EXPECT_EQ(report["rows"][1]["against"], "copy on the device");
  EXPECT_EQ(report["rows"][2]["against"], "matrix product");
}

TEST(BenchCommandTest, ShapesSayWhatIsWrong) {
  for (const char* shape : {"8x8x64", "8x8x64x", "0x1x1x1", "8x8x64x16x", "axbxcxd"}) {
    EXPECT_THAT(
        RunProgram("bench attention --shapes " + std::string(shape) + " 2>&1").output,
        HasSubstr("shapes: expected BATCHxHEADSxLENGTHxWIDTH, found " + std::string(shape)));
  }
  const ProgramResult both = RunProgram("bench attention --shapes 1x1x8x16 --lengths 60 2>&1");
  EXPECT_EQ(both.exit_code, 2);
  EXPECT_THAT(both.output, HasSubstr("--shapes excludes --lengths"));
}

// Every bench runs to its end; the other side is a script that answers as a Python would.
TEST(BenchCommandTest, SlowEveryBenchMeasures) {
  const std::string rival = testing::TempDir() + "bench_rival_" + std::to_string(getpid()) + ".sh";
  std::ofstream(rival) << "#!/bin/sh\n[ \"$2\" = which ] && echo rival 1.0 || echo 12.5\n";
  std::filesystem::permissions(rival, std::filesystem::perms::owner_all);
  const std::string python = " --repeats 1 --python " + rival;
  ExpectRows(Bench("attention --lengths 60 --no-compare --repeats 1 --attention cosformer"), 3);
  ExpectRows(Bench("behaviour --env hopper" + python), 2);
  ExpectRows(Bench("data" + python), 4);
  ExpectRows(Bench("env --env hopper" + python), 3);
  ExpectRows(Bench("eval --env hopper" + python), 3 + 3);
  const json train = Bench("train --env hopper" + python);
  ExpectRows(train, 2 + 2);
  EXPECT_EQ(train["device"], "cpu");
  EXPECT_EQ(train["rows"][0]["against"], "rival 1.0 fp32");
  EXPECT_EQ(train["rows"][0]["against_value"], 12.5);
  std::filesystem::remove(rival);
}

}  // namespace
}  // namespace cosdt
