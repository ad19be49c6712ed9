// cosdt report: scores and costs of runs, compared in a table, as JSON, or as a page with figures.
#include <algorithm>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "datasets/atomic_file.h"
#include "experiments/commands/commands.h"
#include "experiments/program/utf8.h"
#include "experiments/report/report_csv.h"
#include "experiments/report/report_data.h"
#include "experiments/report/report_html.h"
#include "experiments/report/report_table.h"

namespace cosdt::experiments {
namespace {

using nlohmann::json;

struct ReportCommand {
  std::vector<std::string> folders;
  std::string out;
  bool json = false;
};

json DescribeGroup(const Report& report, const Group& group) {
  const Task& task = report.tasks[group.task];
  json seeds = json::array();
  for (const RunResult* run : group.runs) seeds.push_back(run->seed);
  return {{"dataset", task.dataset},
          {"env", task.env},
          {"algorithm", report.algorithms[group.algorithm]},
          {"context", group.context},
          {"seeds", std::move(seeds)},
          {"score_name", task.score_name},
          {"scores", group.Scores()},
          {"mean", group.mean},
          {"std", group.std},
          {"iqm", group.iqm},
          {"iqm_ci", {group.iqm_interval.low, group.iqm_interval.high}},
          {"updates_per_second", group.Mean(&RunResult::updates_per_second)},
          {"ms_per_update", group.Mean(&RunResult::ms_per_update)},
          {"tokens_per_update", group.Mean(&RunResult::tokens_per_update)},
          {"ms_per_decision", group.Mean(&RunResult::window_ms)},
          {"training_bytes", group.Mean(&RunResult::training_bytes)},
          {"rollout_bytes", group.Mean(&RunResult::rollout_bytes)}};
}

void PrintReport(const Report& report) {
  json cells = json::array(), summary = json::array();
  for (const Group& group : report.groups) {
    for (const RunResult* run : group.runs) {
      cells.push_back(run->json);
      cells.back()["folder"] = run->folder;
      cells.back()["state"] = "done";
    }
    summary.push_back(DescribeGroup(report, group));
  }
  PrintJson({{"cells", std::move(cells)},
             {"summary", std::move(summary)},
             {"left_out", report.problems}});
}

void Run(const ReportCommand& command) {
  const Report report = ReadReport(command.folders);
  for (const std::string& problem : report.problems) {
    std::fprintf(stderr, "cosdt: left out: %s\n", problem.c_str());
  }
  if (!command.out.empty()) {
    const std::string page = ReportPage(report);
    const std::string stem = command.out.substr(0, command.out.rfind(".html"));
    datasets::WriteFile(command.out, page);
    datasets::WriteFile(stem + ".csv", RunsCsv(report));
    datasets::WriteFile(stem + "-summary.csv", SummaryCsv(report));
  }
  if (command.json) {
    PrintReport(report);
  } else if (command.out.empty()) {
    PrintTable(report);
  }
}

}  // namespace

void AddReportCommand(CLI::App& program) {
  auto command = std::make_shared<ReportCommand>();
  CLI::App* app = program.add_subcommand(
      "report", "compare scores and costs of runs in a table or on a page with figures");
  app->add_option("RUN", command->folders, "folders to search for runs, with their subfolders")
      ->required();
  app->add_option("--out", command->out,
                  "HTML file for a page with figures; its values go to CSV files beside it")
      ->check([](const std::string& name) {
        return name.ends_with(".html") ? ""
                                       : "expected a name that ends in .html, found '" + name + "'";
      });
  app->add_flag("--json", command->json, "print one JSON object");
  app->callback([command] { Run(*command); });
}

}  // namespace cosdt::experiments
