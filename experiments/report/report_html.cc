#include "experiments/report/report_html.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <sstream>

#include "experiments/embedded.h"
#include "experiments/report/html_text.h"
#include "experiments/report/report_plots.h"
#include "experiments/scores/published_scores.h"

namespace cosdt::experiments {
namespace {

constexpr size_t kFramesARun = 4;

std::string Number(double x, int digits = 1) {
  char text[64];
  std::snprintf(text, sizeof text, "%.*f", digits, x);
  return text;
}

// With digits for its size; nothing for what was not measured.
std::string Short(double x) {
  if (std::isnan(x)) return "";
  char text[64];
  std::snprintf(text, sizeof text, x >= 100 ? "%.0f" : "%.3g", x);
  return text;
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

class Page {
 public:
  explicit Page(const Report& report) : report_(report), comparisons_(CompareAlgorithms(report)) {}

  std::string Make() {
    out_ << "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n"
            "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n"
            "<title>"
         << EscapeHtml(Title()) << "</title>\n<style>\n"
         << kReportCss << "</style>\n</head>\n<body>\n"
         << PointShapes() << "<h1>" << EscapeHtml(Title()) << "</h1>\n";
    Facts();
    Problems();
    Scores();
    Aggregates();
    Published();
    Figures();
    Frames();
    Runs();
    out_ << "</body>\n</html>\n";
    return out_.str();
  }

 private:
  std::string Title() const {
    std::string title;
    for (size_t i = 0; i < report_.algorithms.size(); ++i) {
      const char* separator = i == 0 ? "" : i + 1 == report_.algorithms.size() ? " and " : ", ";
      title += separator + report_.algorithms[i];
    }
    return title + (report_.contexts.size() == 1 ? "" : " over context");
  }

  void Heading(const std::string& text, const std::string& explanation = "") {
    out_ << "<h2>" << text << "</h2>\n";
    if (!explanation.empty()) out_ << "<p class=\"quiet\">" << explanation << "</p>\n";
  }

  void BeginTable(const std::vector<std::string>& columns) {
    out_ << "<div class=\"scroll\"><table>\n<thead><tr>";
    for (const std::string& column : columns)
      out_ << "<th scope=\"col\">" << EscapeHtml(column) << "</th>";
    out_ << "</tr></thead>\n<tbody>\n";
  }

  void EndTable() { out_ << "</tbody>\n</table></div>\n"; }

  // A row with a heading; cells are HTML.
  void Row(const std::string& name, const std::vector<std::string>& cells,
           const std::string& attributes = "") {
    out_ << "<tr" << attributes << "><th scope=\"row\">" << EscapeHtml(name) << "</th>";
    for (const std::string& cell : cells) out_ << "<td>" << (cell.empty() ? "–" : cell) << "</td>";
    out_ << "</tr>\n";
  }

  void GroupRow(const std::string& name, size_t columns) {
    out_ << "<tr><th scope=\"rowgroup\" colspan=\"" << columns << "\"><span>" << EscapeHtml(name)
         << "</span></th></tr>\n";
  }

  void AddFigures(const std::string& heading, const std::string& explanation,
                  const std::vector<Figure>& figures) {
    if (figures.empty()) return;
    Heading(heading, explanation);
    out_ << "<div class=\"figures\">\n";
    for (const Figure& figure : figures) {
      out_ << "<figure><figcaption>" << EscapeHtml(figure.caption) << "</figcaption>\n"
           << figure.svg << "</figure>\n";
    }
    out_ << "</div>\n";
  }

  void Fact(const std::string& name, const std::string& value) {
    out_ << "<tr><th scope=\"row\">" << name << "</th><td>" << EscapeHtml(value) << "</td></tr>\n";
  }

  void Facts() {
    Heading("What was compared");
    out_ << "<table class=\"facts\"><tbody>\n";
    Fact("runs", std::to_string(report_.runs.size()));
    // what is not simulated has no physics
    const auto simulated = std::ranges::find_if(
        report_.runs, [](const RunResult& run) { return !run.physics.empty(); });
    if (simulated != report_.runs.end()) {
      Fact("physics", simulated->physics);
      Fact("MuJoCo", simulated->mujoco_version);
    }
    Fact("LibTorch", Distinct(report_, [](const RunResult& run) { return run.torch_version; }));
    for (const Task& task : report_.tasks) {
      Fact("dataset", task.label + ", SHA-256 " + task.sha256.substr(0, 12) + "…" +
                          (task.published ? ", D4RL's own file" : ""));
    }
    Fact("contexts", Distinct(report_, [](const RunResult& run) { return run.context; }));
    Fact("seeds", Distinct(report_, [](const RunResult& run) { return run.seed; }));
    Fact("updates", Distinct(report_, [](const RunResult& run) { return run.updates; }));
    Fact("batch size", Distinct(report_, [](const RunResult& run) { return run.batch_size; }));
    Fact("parameters", Distinct(report_, [](const RunResult& run) { return run.parameters; }));
    Fact("episodes", Distinct(report_, [](const RunResult& run) {
                       return run.targets[0].episodes;
                     }) + " a target and run");
    out_ << "</tbody></table>\n";
  }

  void Problems() {
    if (report_.problems.empty()) return;
    Heading("Left out", "Folders whose results could not be read; no figure here contains them.");
    out_ << "<ul class=\"left-out\">\n";
    for (const std::string& problem : report_.problems) {
      out_ << "<li>" << EscapeHtml(problem) << "</li>\n";
    }
    out_ << "</ul>\n";
  }

  // Mean ± standard deviation; one run has no deviation.
  static std::string MeanText(const Group& group) {
    return Number(group.mean) + (group.runs.size() > 1 ? " ± " + Number(group.std) : "");
  }

  std::string ScoreCell(const Group& group) const {
    const size_t n = group.runs.size();
    std::string cell = MeanText(group);
    if (n > 1) {
      cell += "<small>IQM " + Number(group.iqm) + " [" + Number(group.iqm_interval.low) + ", " +
              Number(group.iqm_interval.high) + "]</small>";
    }
    if (n < MostSeeds()) {
      cell += "<small>" + std::to_string(n) + (n == 1 ? " seed" : " seeds") + "</small>";
    }
    return cell;
  }

  size_t MostSeeds() const {
    size_t most = 0;
    for (const Group& group : report_.groups) most = std::max(most, group.runs.size());
    return most;
  }

  void Scores() {
    Heading(
        "Scores",
        "Mean ± standard deviation over " + std::to_string(MostSeeds()) +
            " seeds, unless a cell says fewer; below it the interquartile mean (IQM) with its "
            "95&#160;% interval by a stratified bootstrap. A normalized score is 0 for a random "
            "policy and 100 for an expert; a success rate is the share of episodes, in per "
            "cent. Behaviour cloning (BC) has no context and stands at 1.");
    std::vector<std::string> columns = {""};
    for (const int64_t context : report_.contexts) {
      columns.push_back("context " + std::to_string(context));
    }
    BeginTable(columns);
    for (size_t task = 0; task < report_.tasks.size(); ++task) {
      GroupRow(report_.tasks[task].label + ", " + report_.tasks[task].score_name, columns.size());
      for (size_t algorithm = 0; algorithm < report_.algorithms.size(); ++algorithm) {
        std::vector<std::string> cells;
        for (const int64_t context : report_.contexts) {
          const Group* group = report_.Find(task, algorithm, context);
          cells.push_back(group ? ScoreCell(*group) : "");
        }
        if (std::ranges::all_of(cells, &std::string::empty)) continue;
        Row(report_.algorithms[algorithm], cells);
      }
    }
    EndTable();
  }

  // Over tasks, where there are several.
  void Aggregates() {
    if (std::ranges::none_of(comparisons_,
                             [](const Comparison& c) { return c.tasks.size() > 1; })) {
      return;
    }
    Heading("Over tasks",
            "Aggregates over the tasks that all attention kinds have runs of at a context: with "
            "95&#160;% intervals, for which runs are drawn anew within each task. A success rate "
            "counts "
            "like a normalized score. Behaviour cloning is the same beside every context.");
    BeginTable({"", "mean", "median", "IQM"});
    for (const Comparison& comparison : comparisons_) {
      if (comparison.tasks.size() < 2) continue;
      GroupRow("context " + std::to_string(comparison.context) + ", " +
                   std::to_string(comparison.tasks.size()) + " tasks",
               4);
      for (size_t i = 0; i < comparison.algorithms.size(); ++i) {
        std::vector<std::string> cells;
        for (const auto aggregate : {AggregateMean, AggregateMedian, AggregateInterquartileMean}) {
          const TaskScores& scores = comparison.scores[i];
          const Interval interval = StratifiedInterval(scores, aggregate, 0);
          cells.push_back(Number(aggregate(scores)) + "<small>[" + Number(interval.low) + ", " +
                          Number(interval.high) + "]</small>");
        }
        Row(report_.algorithms[comparison.algorithms[i]], cells);
      }
    }
    EndTable();
  }

  // Rows of mean ± std for the given tasks (an index beyond the last: no runs of it), and their
  // mean where all tasks have runs.
  void ScoreRows(const std::vector<size_t>& tasks) {
    for (size_t algorithm = 0; algorithm < report_.algorithms.size(); ++algorithm) {
      for (const int64_t context : report_.contexts) {
        std::vector<std::string> cells;
        double sum = 0;
        size_t present = 0;
        bool cloning = false;
        for (const size_t task : tasks) {
          const Group* group = report_.Find(task, algorithm, context);
          cells.push_back(group ? MeanText(*group) : "");
          if (!group) continue;
          sum += group->mean;
          cloning = group->runs[0]->cloning;
          ++present;
        }
        if (present == 0) continue;
        cells.push_back(present == tasks.size() ? Number(sum / static_cast<double>(present)) : "");
        Row(report_.algorithms[algorithm] + (cloning ? "" : ", context " + std::to_string(context)),
            cells);
      }
    }
  }

  void Published() {
    std::vector<size_t> own, on_d4rl;
    for (const char* name : kPublishedDatasets) {
      const auto found = std::ranges::find_if(
          report_.tasks, [&](const Task& task) { return task.published && task.dataset == name; });
      on_d4rl.push_back(found - report_.tasks.begin());
    }
    std::vector<std::string> own_columns = {""}, d4rl_columns = {""};
    for (size_t task = 0; task < report_.tasks.size(); ++task) {
      if (report_.tasks[task].score_name != "normalized score" ||
          std::ranges::count(on_d4rl, task)) {
        continue;
      }
      own.push_back(task);
      own_columns.push_back(report_.tasks[task].label);
    }
    const bool any_on_d4rl =
        std::ranges::any_of(on_d4rl, [&](size_t task) { return task < report_.tasks.size(); });
    if (own.empty() && !any_on_d4rl) return;
    Heading("Normalized scores in the form of published tables",
            "Mean ± standard deviation over seeds; the last column is the mean over datasets, "
            "where all have runs.");
    if (!own.empty()) {
      own_columns.push_back("mean");
      BeginTable(own_columns);
      ScoreRows(own);
      EndTable();
    }
    d4rl_columns.insert(d4rl_columns.end(), kPublishedDatasets.begin(), kPublishedDatasets.end());
    d4rl_columns.push_back("mean");
    out_ << "<h3>Published, on D4RL's own files</h3>\n<p class=\"quiet\">Rows in italics are as "
            "published, not measured here."
         << (own.empty() ? "" : " They do not compare with scores on other datasets, above.")
         << "</p>\n";
    BeginTable(d4rl_columns);
    if (any_on_d4rl) ScoreRows(on_d4rl);
    GroupRow("published, not measured here", d4rl_columns.size());
    for (const PublishedScores& row : AllPublishedScores()) {
      std::vector<std::string> cells;
      for (const double score : row.scores) cells.push_back(Number(score));
      cells.push_back(Number(row.mean));
      Row(row.name, cells, " class=\"published\"");
    }
    EndTable();
  }

  void Figures() {
    AddFigures(
        "Score over context",
        "Interquartile mean over seeds with its 95&#160;% interval; points are moved apart so "
        "that intervals can be seen.",
        ScoreFigures(report_));
    AddFigures("Training time a token", "Of a whole training step, on logarithmic axes.",
               TrainingTimeFigures(report_));
    AddFigures("Peak memory", "Of training (filled points) and of rollout (hollow, dotted).",
               MemoryFigures(report_));
    AddFigures("Time a decision",
               "Of one body: the last steps anew (filled points), or a state over the whole "
               "episode where the agent allows it (hollow, dotted).",
               DecisionTimeFigures(report_));
    AddFigures("Learning curves", "Training loss, the mean over seeds.", LearningCurves(report_));
    AddFigures("Attained against requested return",
               "Mean over seeds with its 95&#160;% interval by a bootstrap of seeds.",
               TargetFigures(report_));
    AddFigures(
        "Performance profiles",
        "The share of runs over all tasks that score above a threshold, with pointwise 95&#160;% "
        "intervals. Behaviour cloning stands beside every context.",
        ProfileFigures(report_, comparisons_));
    AddFigures("Probability of improvement",
               "How likely a run of the first scores above a run of the second on the same task, "
               "averaged over tasks, with 95&#160;% intervals. Half is a draw.",
               ImprovementFigures(report_, comparisons_));
  }

  // Of the first run of each group that has some.
  void Frames() {
    bool any = false;
    for (const Group& group : report_.groups) {
      for (const RunResult* run : group.runs) {
        std::vector<std::filesystem::path> files;
        for (const auto& entry : std::filesystem::directory_iterator(run->folder)) {
          const std::string name = entry.path().filename();
          if (name.starts_with("frame") && name.ends_with(".png")) files.push_back(entry.path());
        }
        if (files.empty()) continue;
        std::ranges::sort(files);
        if (!any) Heading("Frames");
        any = true;
        const std::string caption = report_.tasks[group.task].label + ", " + run->algorithm +
                                    ", context " + std::to_string(group.context) + ", seed " +
                                    std::to_string(run->seed);
        out_ << "<h3>" << EscapeHtml(caption) << "</h3>\n<div class=\"figures\">\n";
        for (size_t i = 0; i < std::min(files.size(), kFramesARun); ++i) {
          std::ifstream file(files[i], std::ios::binary);
          const std::string bytes(std::istreambuf_iterator<char>(file), {});
          out_ << "<figure><img alt=\"" << EscapeHtml(caption + ", " + files[i].filename().string())
               << "\" src=\"data:image/png;base64," << Base64(bytes) << "\"/></figure>\n";
        }
        out_ << "</div>\n";
        break;
      }
    }
  }

  void Runs() {
    Heading("Runs", "Memory at its peak. The same and more is in the CSV files beside this page.");
    BeginTable({"folder", "dataset", "algorithm", "context", "seed", "score", "updates",
                "parameters", "updates/s", "µs a token", "training MB", "rollout MB",
                "ms a decision", "recurrent"});
    for (const Group& group : report_.groups) {
      for (const RunResult* run : group.runs) {
        Row(run->folder,
            {EscapeHtml(report_.tasks[group.task].label), EscapeHtml(run->algorithm),
             std::to_string(run->context), std::to_string(run->seed), Number(run->score, 2),
             std::to_string(run->updates), std::to_string(run->parameters),
             Short(run->updates_per_second),
             Short(1000 * run->ms_per_update / run->tokens_per_update),
             Short(run->training_bytes / 1e6), Short(run->rollout_bytes / 1e6),
             Short(run->window_ms), run->recurrent_ms ? Short(*run->recurrent_ms) : ""});
      }
    }
    EndTable();
  }

  const Report& report_;
  std::vector<Comparison> comparisons_;
  std::ostringstream out_;
};

}  // namespace

std::string ReportPage(const Report& report) { return Page(report).Make(); }

}  // namespace cosdt::experiments
