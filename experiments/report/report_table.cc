#include "experiments/report/report_table.h"

#include <algorithm>
#include <cstdio>
#include <string>

namespace cosdt::experiments {
namespace {

std::string ScoreText(const Group& group) {
  char text[64];
  if (group.runs.size() == 1) {
    std::snprintf(text, sizeof text, "%.1f (1)", group.mean);
  } else {
    std::snprintf(text, sizeof text, "%.1f +- %.1f (%zu)", group.mean, group.std,
                  group.runs.size());
  }
  return text;
}

// One run has no interval.
std::string IqmText(const Group& group) {
  if (group.runs.size() == 1) return "-";
  char text[64];
  std::snprintf(text, sizeof text, "%.1f [%.1f, %.1f]", group.iqm, group.iqm_interval.low,
                group.iqm_interval.high);
  return text;
}

// Of the first column.
int NameWidth(const Report& report) {
  size_t width = 14;
  for (const std::string& name : report.algorithms) width = std::max(width, name.size());
  return static_cast<int>(width) + 2;
}

// A row of the table: the cells of one task and algorithm, or dashes.
void PrintCells(const Report& report, const std::string& name, size_t task, size_t algorithm,
                std::string (*text)(const Group&)) {
  std::printf("%-*s", NameWidth(report), name.c_str());
  for (const int64_t context : report.contexts) {
    const Group* group = report.Find(task, algorithm, context);
    std::printf("  %20s", group ? text(*group).c_str() : "-");
  }
  std::printf("\n");
}

}  // namespace

void PrintTable(const Report& report) {
  std::printf("mean +- std (seeds), below it the interquartile mean and its 95 %% interval\n");
  std::printf("%-*s", NameWidth(report), "context");
  for (const int64_t context : report.contexts) {
    std::printf("  %20s", std::to_string(context).c_str());
  }
  std::printf("\n");
  for (size_t task = 0; task < report.tasks.size(); ++task) {
    std::printf("%s, %s\n", report.tasks[task].label.c_str(),
                report.tasks[task].score_name.c_str());
    for (size_t algorithm = 0; algorithm < report.algorithms.size(); ++algorithm) {
      if (std::ranges::none_of(report.contexts, [&](int64_t context) {
            return report.Find(task, algorithm, context);
          })) {
        continue;
      }
      PrintCells(report, "  " + report.algorithms[algorithm], task, algorithm, ScoreText);
      PrintCells(report, "", task, algorithm, IqmText);
    }
  }
}

}  // namespace cosdt::experiments
