#include "experiments/report/report_plots.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <iterator>
#include <map>
#include <optional>
#include <set>
#include <sstream>

#include "experiments/report/gnuplot.h"

namespace cosdt::experiments {
namespace {

constexpr size_t kCurvePoints = 200;  // of a learning curve

std::string Color(size_t algorithm) {
  static const char* const colors[] = {"#0072B2", "#D55E00", "#009E73", "#CC79A7",
                                       "#E69F00", "#56B4E9", "#808080"};
  return std::string(" lc rgb '") + colors[algorithm % std::size(colors)] + "'";
}

// An algorithm's line and points. 7 colors, 5 shapes and 4 dashes have no common factor: two
// algorithms never share all three.
std::string LineStyle(size_t algorithm) {
  static const int shapes[] = {7, 5, 9, 13, 11};
  static const char* const dashes[] = {"solid", "(9,4)", "(3,3)", "(9,3,2,3)"};
  return Color(algorithm) + " lw 2 ps 0.9 pt " +
         std::to_string(shapes[algorithm % std::size(shapes)]) + " dt " +
         dashes[algorithm % std::size(dashes)];
}

// For a second quantity: finely dotted, with hollow points.
std::string HollowStyle(size_t algorithm) {
  static const int shapes[] = {6, 4, 8, 12, 10};
  return Color(algorithm) + " lw 2 ps 0.9 dt (1,3) pt " +
         std::to_string(shapes[algorithm % std::size(shapes)]);
}

std::string BarStyle(size_t algorithm) { return Color(algorithm) + " lw 1 pt 0"; }

// Contexts on a logarithmic axis with their own labels.
void SetContextAxis(Plot& plot, const std::vector<int64_t>& contexts) {
  std::ostringstream tics;
  for (const int64_t context : contexts) tics << (tics.str().empty() ? "" : ", ") << context;
  plot.Set("logscale x");
  plot.Set("xtics (" + tics.str() + ")");
  std::ostringstream range;
  range << "xrange [" << 0.7 * static_cast<double>(contexts.front()) << ":"
        << 1.4 * static_cast<double>(contexts.back()) << "]";
  plot.Set(range.str());
}

std::vector<const Group*> GroupsOf(const Report& report, size_t task, size_t algorithm) {
  std::vector<const Group*> groups;
  for (const Group& group : report.groups) {
    if (group.task == task && group.algorithm == algorithm) groups.push_back(&group);
  }
  return groups;
}

std::vector<int64_t> ContextsOf(const Report& report, size_t task) {
  std::set<int64_t> contexts;
  for (const Group& group : report.groups) {
    if (group.task == task) contexts.insert(group.context);
  }
  return {contexts.begin(), contexts.end()};
}

using Measure = std::function<std::optional<double>(const Group&)>;

// A measure of groups over context and, if there is one, a second, drawn hollow.
std::vector<Figure> MeasureFigures(const Report& report, const std::string& label,
                                   const Measure& first, const Measure& second = nullptr) {
  std::vector<Figure> figures;
  for (size_t task = 0; task < report.tasks.size(); ++task) {
    Plot plot("context in steps", label);
    SetContextAxis(plot, ContextsOf(report, task));
    double low = INFINITY, high = 0;
    const auto rows = [&](size_t algorithm, const Measure& measure) {
      std::vector<std::vector<double>> points;
      for (const Group* group : GroupsOf(report, task, algorithm)) {
        const std::optional<double> y = measure ? measure(*group) : std::nullopt;
        if (!y || !(*y > 0)) continue;  // not on a logarithmic axis
        points.push_back({static_cast<double>(group->context), *y});
        low = std::min(low, *y);
        high = std::max(high, *y);
      }
      return points;
    };
    for (size_t algorithm = 0; algorithm < report.algorithms.size(); ++algorithm) {
      plot.Add(rows(algorithm, first), "linespoints" + LineStyle(algorithm),
               report.algorithms[algorithm]);
      plot.Add(rows(algorithm, second), "linespoints" + HollowStyle(algorithm));
    }
    if (plot.empty()) continue;
    plot.SetLogAxis(low, high);
    figures.push_back(plot.Draw(report.tasks[task].label));
  }
  return figures;
}

using Curve = std::vector<CurvePoint> RunResult::*;

// The mean of a group's curves at each update that all of them have, thinned to means of neighbors.
std::vector<std::vector<double>> MeanCurve(const Group& group, Curve curve) {
  std::map<double, std::vector<double>> values;
  for (const RunResult* run : group.runs) {
    for (const CurvePoint& point : run->*curve) values[point.update].push_back(point.value);
  }
  std::erase_if(values, [&](const auto& entry) {
    return entry.second.size() != group.runs.size() || !std::isfinite(Mean(entry.second));
  });
  const size_t share = values.size() / kCurvePoints + 1;
  std::vector<std::vector<double>> rows;
  std::vector<double> at, means;
  for (const auto& [update, of_runs] : values) {
    at.push_back(update);
    means.push_back(Mean(of_runs));
    if (at.size() == share) {
      rows.push_back({Mean(at), Mean(means)});
      at.clear();
      means.clear();
    }
  }
  return rows;
}

struct CurveAxes {
  std::string x, y = {};  // labels; y "": the task's score
  std::function<double(const Group&)> scale = [](const Group&) { return 1; };  // of updates, on x
  bool is_logarithmic = false;
};

// One figure per task and context.
std::vector<Figure> CurveFigures(const Report& report, Curve curve, const CurveAxes& axes) {
  std::vector<Figure> figures;
  for (size_t task = 0; task < report.tasks.size(); ++task) {
    for (const int64_t context : ContextsOf(report, task)) {
      Plot plot(axes.x, axes.y.empty() ? report.tasks[task].score_name : axes.y);
      double low = INFINITY, high = 0;
      for (size_t algorithm = 0; algorithm < report.algorithms.size(); ++algorithm) {
        const Group* group = report.Find(task, algorithm, context);
        if (!group) continue;
        std::vector<std::vector<double>> rows = MeanCurve(*group, curve);
        for (std::vector<double>& row : rows) {
          row[0] *= axes.scale(*group);
          low = std::min(low, row[1]);
          high = std::max(high, row[1]);
        }
        plot.Add(
            rows,
            "linespoints" + LineStyle(algorithm) + " pi " + std::to_string(rows.size() / 6 + 1),
            report.algorithms[algorithm]);
      }
      if (plot.empty()) continue;
      plot.Set("xrange [0:*]");
      if (axes.is_logarithmic && low > 0) plot.SetLogAxis(low, high);
      figures.push_back(
          plot.Draw(report.tasks[task].label + ", context " + std::to_string(context)));
    }
  }
  return figures;
}

// Runs' mean returns by target.
std::map<double, std::vector<double>> Attained(const Group& group) {
  std::map<double, std::vector<double>> attained;
  for (const RunResult* run : group.runs) {
    for (const TargetResult& target : run->targets) {
      if (target.target) attained[*target.target].push_back(target.mean);
    }
  }
  return attained;
}

std::string TaskLabels(const Report& report, const std::vector<size_t>& tasks) {
  if (tasks.size() == report.tasks.size()) return "all tasks";
  std::string labels;
  for (const size_t task : tasks) {
    labels += (labels.empty() ? "" : ", ") + report.tasks[task].label;
  }
  return labels;
}

Figure DrawImprovements(const std::vector<Improvement>& improvements, const std::string& caption) {
  Plot plot("probability", "");
  std::vector<std::vector<double>> rows;
  std::string labels;
  for (const Improvement& x : improvements) {
    const double y = -static_cast<double>(rows.size());
    std::string label;
    for (const char c : x.of + " > " + x.over) label += c == '%' ? "%%" : std::string(1, c);
    labels += (labels.empty() ? "" : ", ") + GnuplotString(label) + " " + std::to_string(y);
    rows.push_back({x.probability, y, x.interval.low, x.interval.high});
  }
  plot.Set("xrange [0:1]");
  plot.Set("xtics 0.5");
  plot.Set("yrange [" + std::to_string(0.5 - static_cast<double>(rows.size())) + ":0.5]");
  plot.Set("ytics (" + labels + ")");
  plot.Set("arrow from 0.5, graph 0 to 0.5, graph 1 nohead lc rgb 'gray' lw 2 dt (3,3)");
  plot.Add(rows, "xerrorbars lw 2 ps 0.9 pt 7" + Color(0));
  return plot.Draw(caption, 80 + 22 * static_cast<int>(rows.size()));
}

}  // namespace

std::vector<Figure> ScoreFigures(const Report& report) {
  std::vector<Figure> figures;
  for (size_t task = 0; task < report.tasks.size(); ++task) {
    Plot plot("context in steps", report.tasks[task].score_name);
    const std::vector<int64_t> contexts = ContextsOf(report, task);
    SetContextAxis(plot, contexts);
    plot.Set("yrange [*<0:*]");
    const double middle = static_cast<double>(report.algorithms.size() - 1) / 2;
    for (size_t algorithm = 0; algorithm < report.algorithms.size(); ++algorithm) {
      // side by side, so that intervals do not hide each other
      const double shift = std::pow(
          2.0 * static_cast<double>(contexts.back()) / static_cast<double>(contexts.front()),
          0.015 * (static_cast<double>(algorithm) - middle));
      std::vector<std::vector<double>> rows, bars;
      for (const Group* group : GroupsOf(report, task, algorithm)) {
        const double x = static_cast<double>(group->context) * shift;
        rows.push_back({x, group->iqm});
        bars.push_back({x, group->iqm, group->iqm_interval.low, group->iqm_interval.high});
      }
      plot.Add(bars, "yerrorbars" + BarStyle(algorithm));
      plot.Add(rows, "linespoints" + LineStyle(algorithm), report.algorithms[algorithm]);
    }
    figures.push_back(plot.Draw(report.tasks[task].label));
  }
  return figures;
}

std::vector<Figure> TrainingTimeFigures(const Report& report) {
  return MeasureFigures(report, "µs per token", [](const Group& group) {
    return 1000 * group.Mean(&RunResult::ms_per_update) / group.Mean(&RunResult::tokens_per_update);
  });
}

std::vector<Figure> MemoryFigures(const Report& report) {
  return MeasureFigures(
      report, "peak MB",
      [](const Group& group) { return group.Mean(&RunResult::training_bytes) / 1e6; },
      [](const Group& group) { return group.Mean(&RunResult::rollout_bytes) / 1e6; });
}

std::vector<Figure> DecisionTimeFigures(const Report& report) {
  return MeasureFigures(
      report, "ms per decision",
      [](const Group& group) { return group.Mean(&RunResult::window_ms); },
      [](const Group& group) -> std::optional<double> {
        std::vector<double> values;
        for (const RunResult* run : group.runs) {
          if (run->recurrent_ms) values.push_back(*run->recurrent_ms);
        }
        if (values.empty()) return std::nullopt;
        return Mean(values);
      });
}

std::vector<Figure> LearningCurves(const Report& report) {
  return CurveFigures(report, &RunResult::losses,
                      {.x = "updates", .y = "loss", .is_logarithmic = true});
}

std::vector<Figure> ScoreCurves(const Report& report) {
  std::vector<Figure> figures = CurveFigures(report, &RunResult::scores, {.x = "updates"});
  std::ranges::move(CurveFigures(report, &RunResult::scores,
                                 {.x = "training time in s",
                                  .scale =
                                      [](const Group& group) {
                                        return group.Mean(&RunResult::ms_per_update) / 1000;
                                      }}),
                    std::back_inserter(figures));
  return figures;
}

std::vector<Figure> TargetFigures(const Report& report) {
  std::vector<Figure> figures;
  for (size_t task = 0; task < report.tasks.size(); ++task) {
    for (const int64_t context : ContextsOf(report, task)) {
      Plot plot("requested return", "attained return");
      std::set<double> targets;
      for (size_t algorithm = 0; algorithm < report.algorithms.size(); ++algorithm) {
        const Group* group = report.Find(task, algorithm, context);
        if (!group) continue;
        std::vector<std::vector<double>> rows, bars;
        for (const auto& [target, means] : Attained(*group)) {
          const Interval interval = StratifiedInterval({means}, AggregateMean, kBootstrapSeed);
          rows.push_back({target, Mean(means)});
          bars.push_back({target, Mean(means), interval.low, interval.high});
          targets.insert(target);
        }
        plot.Add(bars, "yerrorbars" + BarStyle(algorithm));
        plot.Add(rows, "linespoints" + LineStyle(algorithm), report.algorithms[algorithm]);
      }
      if (targets.size() < 2) continue;
      std::vector<std::vector<double>> asked;
      for (const double target : targets) asked.push_back({target, target});
      plot.Add(asked, "lines lc rgb 'gray' lw 1", "as requested");
      plot.Set("xrange [0:" + std::to_string(1.05 * *targets.rbegin()) + "]");
      plot.Set("yrange [*<0:*]");
      figures.push_back(
          plot.Draw(report.tasks[task].label + ", context " + std::to_string(context)));
    }
  }
  return figures;
}

std::vector<Figure> ProfileFigures(const Report& report,
                                   const std::vector<Comparison>& comparisons) {
  std::vector<Figure> figures;
  for (const Comparison& comparison : comparisons) {
    double low = 0, high = 0;
    for (const TaskScores& scores : comparison.scores) {
      for (const std::vector<double>& runs : scores) {
        low = std::min(low, std::ranges::min(runs));
        high = std::max(high, std::ranges::max(runs));
      }
    }
    std::vector<double> thresholds;
    for (int i = 0; i <= 100; ++i) thresholds.push_back(std::lerp(low, high, i / 100.0));
    Plot plot("score", "share of runs above it");
    plot.Set("yrange [0:1]");
    for (size_t i = 0; i < comparison.algorithms.size(); ++i) {
      std::vector<std::vector<double>> band, line;
      for (const ProfilePoint& p :
           PerformanceProfile(comparison.scores[i], thresholds, kBootstrapSeed)) {
        band.push_back({p.threshold, p.interval.low, p.interval.high});
        line.push_back({p.threshold, p.share});
      }
      const size_t algorithm = comparison.algorithms[i];
      plot.Add(band, "filledcurves fs transparent solid 0.15 noborder" + Color(algorithm));
      plot.Add(line, "linespoints" + LineStyle(algorithm) + " pi 20", report.algorithms[algorithm]);
    }
    figures.push_back(plot.Draw("context " + std::to_string(comparison.context) + ": " +
                                TaskLabels(report, comparison.tasks)));
  }
  return figures;
}

std::vector<Figure> ImprovementFigures(const Report& report,
                                       const std::vector<Comparison>& comparisons) {
  std::vector<Figure> figures;
  for (const Comparison& comparison : comparisons) {
    const std::vector<Improvement> improvements = Improvements(report, comparison);
    if (improvements.empty()) continue;
    figures.push_back(DrawImprovements(improvements, "algorithms at context " +
                                                         std::to_string(comparison.context) + ": " +
                                                         TaskLabels(report, comparison.tasks)));
  }
  const std::vector<Improvement> contexts = ContextImprovements(report);
  if (!contexts.empty()) {
    figures.push_back(DrawImprovements(contexts, "a context over the next shorter one"));
  }
  return figures;
}

}  // namespace cosdt::experiments
