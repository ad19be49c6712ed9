#include "experiments/report/report_html.h"

#include <openssl/evp.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "experiments/embedded.h"
#include "experiments/report/fill_template.h"
#include "experiments/report/report_plots.h"
#include "experiments/scores/published_scores.h"

namespace cosdt::experiments {
namespace {

using nlohmann::json;

constexpr size_t kMaxFrames = 4;  // per run

std::string Fixed(double x, int digits = 1) {
  char text[64];
  std::snprintf(text, sizeof text, "%.*f", digits, x);
  return text;
}

// Three digits; nothing for what was not measured.
std::string Short(double x) {
  if (std::isnan(x)) return "";
  char text[64];
  std::snprintf(text, sizeof text, x >= 100 ? "%.0f" : "%.3g", x);
  return text;
}

// In brackets.
std::string IntervalText(const Interval& interval) {
  return "[" + Fixed(interval.low) + ", " + Fixed(interval.high) + "]";
}

// Mean ± standard deviation; one run has no deviation.
std::string MeanText(const Group& group) {
  return Fixed(group.mean) + (group.runs.size() > 1 ? " ± " + Fixed(group.std) : "");
}

std::string Base64(const std::string& bytes) {
  std::string digits((bytes.size() + 2) / 3 * 4 + 1, '\0');  // with the zero at the end
  digits.resize(static_cast<size_t>(EVP_EncodeBlock(
      reinterpret_cast<unsigned char*>(digits.data()),
      reinterpret_cast<const unsigned char*>(bytes.data()), static_cast<int>(bytes.size()))));
  return digits;
}

// Distinct values of a run's property, in order, with commas.
template <typename Get>
std::string Distinct(const Report& report, Get get) {
  std::set<decltype(get(report.runs[0]))> values;
  for (const RunResult& run : report.runs) values.insert(get(run));
  std::ostringstream list;
  const char* separator = "";
  for (const auto& value : values) {
    list << separator << value;
    separator = ", ";
  }
  return list.str();
}

size_t MaxSeeds(const Report& report) {
  size_t most = 0;
  for (const Group& group : report.groups) most = std::max(most, group.runs.size());
  return most;
}

// The functions below give the values that the templates report.html, report_table.html and
// report_figures.html name; null for a section that has nothing to show.

json Cell(const std::string& value, const json& notes = json::array()) {
  return {{"value", value.empty() ? "–" : value}, {"notes", notes}};
}

json Row(const std::string& name, const json& cells, bool quoted = false) {
  return {{"name", name}, {"cells", cells}, {"quoted", quoted}};
}

// A table is a list of groups of rows; a group without a heading is not set apart.
json RowGroup(const json& heading, const json& rows) {
  return {{"heading", heading}, {"rows", rows}};
}

json Table(const json& columns, const json& groups) {
  return {{"columns", columns}, {"span", columns.size()}, {"groups", groups}};
}

json Figures(const std::vector<Figure>& figures) {
  if (figures.empty()) return nullptr;
  json list = json::array();
  for (const Figure& figure : figures) {
    list.push_back({{"caption", figure.caption}, {"data", Base64(figure.svg)}});
  }
  return {{"figures", std::move(list)}};
}

std::string Title(const Report& report) {
  std::string title;
  for (size_t i = 0; i < report.algorithms.size(); ++i) {
    const char* separator = i == 0 ? "" : i + 1 == report.algorithms.size() ? " and " : ", ";
    title += separator + report.algorithms[i];
  }
  return title + (report.contexts.size() == 1 ? "" : " over context");
}

json Facts(const Report& report) {
  json facts = json::array();
  const auto add = [&](const char* name, const std::string& value) {
    facts.push_back({{"name", name}, {"value", value}});
  };
  add("runs", std::to_string(report.runs.size()));
  // what is not simulated has no physics
  const auto simulated =
      std::ranges::find_if(report.runs, [](const RunResult& run) { return !run.physics.empty(); });
  if (simulated != report.runs.end()) {
    add("physics", simulated->physics);
    add("MuJoCo", simulated->mujoco_version);
  }
  add("LibTorch", Distinct(report, [](const RunResult& run) { return run.torch_version; }));
  for (const Task& task : report.tasks) {
    add("dataset", task.label + ", SHA-256 " + task.sha256.substr(0, 12) + "…" +
                       (task.published ? ", D4RL's own file" : ""));
  }
  add("contexts", Distinct(report, [](const RunResult& run) { return run.context; }));
  add("seeds", Distinct(report, [](const RunResult& run) { return run.seed; }));
  add("updates", Distinct(report, [](const RunResult& run) { return run.updates; }));
  add("batch size", Distinct(report, [](const RunResult& run) { return run.batch_size; }));
  add("parameters", Distinct(report, [](const RunResult& run) { return run.parameters; }));
  add("episodes", Distinct(report, [](const RunResult& run) { return run.targets[0].episodes; }) +
                      " per target and run");
  return facts;
}

json LeftOut(const Report& report) {
  if (report.problems.empty()) return nullptr;
  return {{"problems", report.problems}};
}

json ScoreCell(const Group& group, size_t max_seeds) {
  const size_t n = group.runs.size();
  json notes = json::array();
  if (n > 1) notes.push_back("IQM " + Fixed(group.iqm) + " " + IntervalText(group.iqm_interval));
  if (n < max_seeds) notes.push_back(std::to_string(n) + (n == 1 ? " seed" : " seeds"));
  return Cell(MeanText(group), notes);
}

json Scores(const Report& report) {
  const size_t max_seeds = MaxSeeds(report);
  json columns = json::array({""});
  for (const int64_t context : report.contexts) {
    columns.push_back("context " + std::to_string(context));
  }
  json groups = json::array();
  for (size_t task = 0; task < report.tasks.size(); ++task) {
    json rows = json::array();
    for (size_t algorithm = 0; algorithm < report.algorithms.size(); ++algorithm) {
      json cells = json::array();
      bool any = false;
      for (const int64_t context : report.contexts) {
        const Group* group = report.Find(task, algorithm, context);
        cells.push_back(group ? ScoreCell(*group, max_seeds) : Cell(""));
        any |= group != nullptr;
      }
      if (any) rows.push_back(Row(report.algorithms[algorithm], cells));
    }
    groups.push_back(
        RowGroup(report.tasks[task].label + ", " + report.tasks[task].score_name, rows));
  }
  json table = Table(columns, groups);
  table["seeds"] = max_seeds;
  return table;
}

// For comparisons over more than one task.
json Aggregates(const Report& report, const std::vector<Comparison>& comparisons) {
  json groups = json::array();
  for (const Comparison& comparison : comparisons) {
    if (comparison.tasks.size() < 2) continue;
    json rows = json::array();
    for (size_t i = 0; i < comparison.algorithms.size(); ++i) {
      json cells = json::array();
      for (const auto aggregate : {AggregateMean, AggregateMedian, AggregateInterquartileMean}) {
        const TaskScores& scores = comparison.scores[i];
        cells.push_back(Cell(
            Fixed(aggregate(scores)),
            json::array({IntervalText(StratifiedInterval(scores, aggregate, kBootstrapSeed))})));
      }
      rows.push_back(Row(report.algorithms[comparison.algorithms[i]], cells));
    }
    groups.push_back(RowGroup("context " + std::to_string(comparison.context) + ", " +
                                  std::to_string(comparison.tasks.size()) + " tasks",
                              rows));
  }
  if (groups.empty()) return nullptr;
  return Table({"", "mean", "median", "IQM"}, groups);
}

// The mean of scores that add up to `sum`, if all are known.
json MeanCell(double sum, size_t known, size_t all) {
  return Cell(known == all ? Fixed(sum / static_cast<double>(all)) : "");
}

// Rows of mean ± std for the given tasks (an index beyond the last: no runs of it), and their mean
// if all tasks have runs.
json MeanRows(const Report& report, const std::vector<size_t>& tasks) {
  json rows = json::array();
  for (size_t algorithm = 0; algorithm < report.algorithms.size(); ++algorithm) {
    for (const int64_t context : report.contexts) {
      json cells = json::array();
      double sum = 0;
      size_t present = 0;
      bool cloning = false;
      for (const size_t task : tasks) {
        const Group* group = report.Find(task, algorithm, context);
        cells.push_back(Cell(group ? MeanText(*group) : ""));
        if (!group) continue;
        sum += group->mean;
        cloning = group->runs[0]->cloning;
        ++present;
      }
      if (present == 0) continue;
      cells.push_back(MeanCell(sum, present, tasks.size()));
      const std::string suffix = cloning ? "" : ", context " + std::to_string(context);
      rows.push_back(Row(report.algorithms[algorithm] + suffix, cells));
    }
  }
  return rows;
}

json PublishedRows() {
  json rows = json::array();
  for (const PublishedScores& method : AllPublishedScores()) {
    json cells = json::array();
    double sum = 0;
    size_t known = 0;
    for (const std::optional<double>& score : method.scores) {
      cells.push_back(Cell(score ? Fixed(*score) : ""));
      sum += score.value_or(0);
      known += score.has_value();
    }
    cells.push_back(MeanCell(sum, known, method.scores.size()));
    rows.push_back(Row(method.name, cells, /*quoted=*/true));
  }
  return rows;
}

json Published(const Report& report) {
  std::vector<size_t> on_d4rl, own;  // tasks
  json d4rl_columns = json::array({""}), own_columns = d4rl_columns;
  for (const char* name : kPublishedDatasets) {
    const auto found = std::ranges::find_if(
        report.tasks, [&](const Task& task) { return task.published && task.dataset == name; });
    on_d4rl.push_back(found - report.tasks.begin());
    d4rl_columns.push_back(name);
  }
  for (size_t task = 0; task < report.tasks.size(); ++task) {
    if (report.tasks[task].score_name != "normalized score") continue;
    if (std::ranges::count(on_d4rl, task)) continue;
    own.push_back(task);
    own_columns.push_back(report.tasks[task].label);
  }
  d4rl_columns.push_back("mean");
  own_columns.push_back("mean");
  const json measured = MeanRows(report, on_d4rl);
  if (own.empty() && measured.empty()) return nullptr;
  json groups = json::array();
  if (!measured.empty()) groups.push_back(RowGroup(nullptr, measured));
  groups.push_back(RowGroup("published, not measured here", PublishedRows()));
  json own_table;
  if (!own.empty())
    own_table = Table(own_columns, json::array({RowGroup(nullptr, MeanRows(report, own))}));
  return {{"own", std::move(own_table)}, {"d4rl", Table(d4rl_columns, groups)}};
}

std::vector<std::filesystem::path> FrameFiles(const std::string& folder) {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::string name = entry.path().filename();
    if (name.starts_with("frame") && name.ends_with(".png")) files.push_back(entry.path());
  }
  std::ranges::sort(files);
  files.resize(std::min(files.size(), kMaxFrames));
  return files;
}

// Frames of the first run of each group that has some.
json Frames(const Report& report) {
  json clips = json::array();
  for (const Group& group : report.groups) {
    for (const RunResult* run : group.runs) {
      const std::vector<std::filesystem::path> files = FrameFiles(run->folder);
      if (files.empty()) continue;
      const std::string caption = report.tasks[group.task].label + ", " + run->algorithm +
                                  ", context " + std::to_string(group.context) + ", seed " +
                                  std::to_string(run->seed);
      json images = json::array();
      for (const std::filesystem::path& path : files) {
        std::ifstream file(path, std::ios::binary);
        const std::string bytes(std::istreambuf_iterator<char>(file), {});
        images.push_back(
            {{"alt", caption + ", " + path.filename().string()}, {"data", Base64(bytes)}});
      }
      clips.push_back({{"caption", caption}, {"images", std::move(images)}});
      break;
    }
  }
  if (clips.empty()) return nullptr;
  return {{"clips", std::move(clips)}};
}

json Runs(const Report& report) {
  json rows = json::array();
  for (const Group& group : report.groups) {
    for (const RunResult* run : group.runs) {
      json cells = json::array();
      for (const std::string& value : std::vector<std::string>{
               report.tasks[group.task].label, run->algorithm, std::to_string(run->context),
               std::to_string(run->seed), Fixed(run->score, 2), std::to_string(run->updates),
               std::to_string(run->parameters), Short(run->updates_per_second),
               Short(1000 * run->ms_per_update / run->tokens_per_update),
               Short(run->training_bytes / 1e6), Short(run->rollout_bytes / 1e6),
               Short(run->window_ms), run->recurrent_ms ? Short(*run->recurrent_ms) : ""}) {
        cells.push_back(Cell(value));
      }
      rows.push_back(Row(run->folder, cells));
    }
  }
  return Table(
      {"folder", "dataset", "algorithm", "context", "seed", "score", "updates", "parameters",
       "updates/s", "µs per token", "training MB", "rollout MB", "ms per decision", "recurrent"},
      json::array({RowGroup(nullptr, rows)}));
}

}  // namespace

std::string ReportPage(const Report& report) {
  const std::vector<Comparison> comparisons = CompareAlgorithms(report);
  return FillTemplate(kReportHtml,
                      {{"css", std::string(kReportCss)},
                       {"table", std::string(kReportTableHtml)},
                       {"figure_grid", std::string(kReportFiguresHtml)},
                       {"title", Title(report)},
                       {"facts", Facts(report)},
                       {"left_out", LeftOut(report)},
                       {"scores", Scores(report)},
                       {"aggregates", Aggregates(report, comparisons)},
                       {"published", Published(report)},
                       {"score_figures", Figures(ScoreFigures(report))},
                       {"training_time_figures", Figures(TrainingTimeFigures(report))},
                       {"memory_figures", Figures(MemoryFigures(report))},
                       {"decision_time_figures", Figures(DecisionTimeFigures(report))},
                       {"learning_curves", Figures(LearningCurves(report))},
                       {"score_curves", Figures(ScoreCurves(report))},
                       {"target_figures", Figures(TargetFigures(report))},
                       {"profile_figures", Figures(ProfileFigures(report, comparisons))},
                       {"improvement_figures", Figures(ImprovementFigures(report, comparisons))},
                       {"frames", Frames(report)},
                       {"runs", Runs(report)}});
}

}  // namespace cosdt::experiments
