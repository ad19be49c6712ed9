#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace cosdt::experiments {

// One line of a benchmark's output. `ratio` above 1 means better than `against`.
struct BenchRow {
  std::string name;    // "case" in JSON: what was measured ("hopper, 2 threads")
  std::string metric;  // "environment steps"
  double value = 0;
  std::string unit;  // "1/s"
  std::string against;
  double against_value = 0;
  double ratio = 0;
};

// Options that comparisons with a baseline share.
struct BenchOptions {
  int threads = 1;
  int repeats = 5;
  std::string python = "";  // "": without the baseline
  bool json = false;
};

// Adds --threads, --repeats, --python and --json; the options' values are the defaults, `threads`
// and `python` their help. Returns --python's option.
CLI::Option* AddBenchOptions(CLI::App& command, BenchOptions& options, const char* threads,
                             const char* python);

// Measures both sides in turn, `repeats` times, so that a busy machine disturbs both alike. Both
// return a rate; reports the medians of the two and of the ratio within a turn.
BenchRow CompareRates(std::string name, std::string metric, std::string against,
                      const std::function<double()>& ours, const std::function<double()>& theirs,
                      int repeats);

// A table, or with `json` one object with versions, `about` and the rows.
void PrintRows(const std::vector<BenchRow>& rows, bool json,
               const nlohmann::json& about = nlohmann::json::object());

void AddBenchAttention(CLI::App& bench);
void AddBenchBehaviour(CLI::App& bench);
void AddBenchCritics(CLI::App& bench);
void AddBenchData(CLI::App& bench);
void AddBenchEnv(CLI::App& bench);
void AddBenchEval(CLI::App& bench);
void AddBenchTrain(CLI::App& bench);

}  // namespace cosdt::experiments
