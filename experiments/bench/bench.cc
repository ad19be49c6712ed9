#include "experiments/bench/bench.h"

#include <cstdio>
#include <utility>

#include "envs/model.h"
#include "experiments/program/utf8.h"
#include "experiments/program/version.h"
#include "experiments/scores/statistics.h"

namespace cosdt::experiments {

CLI::Option* AddBenchOptions(CLI::App& command, BenchOptions& options, const char* threads,
                             const char* python) {
  command.add_option("--threads", options.threads, threads)
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command.add_option("--repeats", options.repeats, "measurements, of which the median is reported")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command.add_flag("--json", options.json, "print one JSON object");
  return command.add_option("--python", options.python, python);
}

BenchRow CompareRates(std::string name, std::string metric, std::string against,
                      const std::function<double()>& ours, const std::function<double()>& theirs,
                      int repeats) {
  std::vector<double> a, b, ratios;
  for (int i = 0; i < repeats; ++i) {
    // the order alternates: what runs second finds a warmer machine
    if (i % 2 == 0) {
      a.push_back(ours());
      b.push_back(theirs());
    } else {
      b.push_back(theirs());
      a.push_back(ours());
    }
    ratios.push_back(a.back() / b.back());
  }
  return {std::move(name),    std::move(metric), Median(a),     "1/s",
          std::move(against), Median(b),         Median(ratios)};
}

void PrintRows(const std::vector<BenchRow>& rows, bool json, const nlohmann::json& about) {
  if (json) {
    nlohmann::json list = nlohmann::json::array();
    for (const BenchRow& r : rows) {
      list.push_back({{"case", r.name},
                      {"metric", r.metric},
                      {"value", r.value},
                      {"unit", r.unit},
                      {"against", r.against},
                      {"against_value", r.against_value},
                      {"ratio", r.ratio}});
    }
    nlohmann::json report = about;
    report.update({{"torch_version", TorchVersion()},
                   {"mujoco_version", envs::MujocoVersion()},
                   {"rows", list}});
    PrintJson(report);
    return;
  }
  for (const BenchRow& r : rows) {
    std::printf("%-24s %-18s %10.6g %s   %-34s %10.6g   ratio %.3f\n", r.name.c_str(),
                r.metric.c_str(), r.value, r.unit.c_str(), r.against.c_str(), r.against_value,
                r.ratio);
  }
}

}  // namespace cosdt::experiments
