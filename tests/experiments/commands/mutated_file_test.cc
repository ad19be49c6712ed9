// A thousand damaged files of each kind that people write or copy about: options of a run, a
// sweep's file, and what `report` reads of runs.
#include <c10/util/Exception.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>

#include "experiments/report/comparison.h"
#include "experiments/report/report_csv.h"
#include "experiments/report/report_data.h"
#include "experiments/runs/sweep.h"
#include "experiments/runs/train_config.h"
#include "tests/experiments/report/made_up_runs.h"
#include "tests/mutator.h"
#include "tests/read_bytes.h"

namespace cosdt::experiments {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::StartsWith;

constexpr int kFiles = 1000;

// What `work` throws, as the program would print it; "" if it throws nothing.
std::string Message(const std::function<void()>& work) {
  try {
    work();
  } catch (const c10::Error& e) {
    return e.what_without_backtrace();
  } catch (const std::exception& e) {
    return e.what();
  }
  return "";
}

// Neither all nor none are refused, and messages are no longer than a name and a value of the file.
class Refusals {
 public:
  void Count(const std::string& message) {
    refused_ += !message.empty();
    EXPECT_LT(message.size(), 12'000u) << message;
  }
  ~Refusals() {
    EXPECT_GT(refused_, kFiles / 10);
    EXPECT_LT(refused_, kFiles);
  }

 private:
  int refused_ = 0;
};

TEST(MutatedFileTest, OptionsOfRunsAreReadOrRefused) {
  TrainOptions usual;
  usual.dataset = "demo/hopper-medium";
  usual.targets = {3600, 1800};
  const std::string good = WriteToml(usual);
  Mutator mutator(1);
  Refusals refusals;
  for (int i = 0; i < kFiles; ++i) {
    const std::string toml = mutator.Text(good);
    TrainOptions options;
    const std::string message = Message([&] { ReadToml("config.toml", toml, options); });
    refusals.Count(message);
    if (!message.empty()) {
      EXPECT_THAT(message, StartsWith("config.toml: ")) << toml;
      EXPECT_THAT(message, HasSubstr("expected ")) << toml;
      continue;
    }
    TrainOptions again;
    ReadToml("again", WriteToml(options), again);
    EXPECT_EQ(WriteToml(again), WriteToml(options));
    const std::string invalid = Message([&] { options.ValidateForAnyData(); });
    EXPECT_LT(invalid.size(), 12'000u) << toml;
  }
}

TEST(MutatedFileTest, SweepsAreReadOrRefused) {
  const std::string good = R"(datasets = ["demo/hopper-medium", "demo/tmaze-100"]
attention = ["cosformer", "softmax", "performer"]
contexts = [1, 20, 100]
baselines = ["bc", "bc-10%"]
seeds = "0-2"
budget = "tokens"

[train]
updates = 2000
lr = 1e-3
batch-size = 64

[dataset."demo/tmaze-100"]
updates = 5000
width = 32
)";
  Mutator mutator(2);
  Refusals refusals;
  for (int i = 0; i < kFiles; ++i) {
    const std::string toml = mutator.Text(good);
    Sweep sweep;
    std::string message = Message([&] { ReadSweep("sweep.toml", toml, sweep); });
    if (!message.empty()) {
      EXPECT_THAT(message, StartsWith("sweep.toml: ")) << toml;
    } else {
      message = Message([&] {
        const std::vector<Cell> cells = MakeCells(sweep, "");
        EXPECT_FALSE(cells.empty());
      });
    }
    refusals.Count(message);
    if (!message.empty()) {
      EXPECT_THAT(message, HasSubstr("found")) << toml;
    }
  }
}

TEST(MutatedFileTest, ResultsOfRunsAreReadOrLeftOut) {
  const fs::path folder =
      fs::path(testing::TempDir()) / ("mutated_runs_" + std::to_string(getpid()));
  WriteRun(folder / "a", MadeUpResult("cosformer", 20, 0, 40));
  WriteRun(folder / "b", MadeUpResult("softmax", 20, 0, 50));
  WriteRun(folder / "c", MadeUpResult("softmax", 20, 1, 60));
  const fs::path result = folder / "c/result.json", metrics = folder / "c/metrics.jsonl";
  const std::string good_result = ReadBytes(result), good_metrics = ReadBytes(metrics);
  Mutator mutator(3);
  Refusals refusals;
  for (int i = 0; i < kFiles; ++i) {
    const bool in_result = mutator.Below(4) != 0;
    std::ofstream(result, std::ios::binary)
        << (in_result ? mutator.Text(good_result) : good_result);
    std::ofstream(metrics, std::ios::binary)
        << (in_result ? good_metrics : mutator.Text(good_metrics));
    std::string message;
    const std::string thrown = Message([&] {
      const Report report = ReadReport({folder.string()});
      EXPECT_EQ(report.runs.size() + report.problems.size(), 3u);
      if (!report.problems.empty()) message = report.problems[0];
      for (const Comparison& comparison : CompareAlgorithms(report)) {
        Improvements(report, comparison);
      }
      RunsCsv(report);
      SummaryCsv(report);
    });
    // a run that is none to compare with the others is an error
    if (!thrown.empty()) message = thrown;
    refusals.Count(message);
    if (!message.empty()) {
      EXPECT_THAT(message, StartsWith(folder.string()));
      EXPECT_THAT(message, HasSubstr(": expected "));
    }
  }
  fs::remove_all(folder);
}

}  // namespace
}  // namespace cosdt::experiments
