#include "experiments/report/comparison.h"

#include <algorithm>
#include <map>
#include <set>

namespace cosdt::experiments {
namespace {

Improvement Improve(std::string of, std::string over, const TaskScores& x, const TaskScores& y) {
  return {std::move(of), std::move(over), x.size(), ProbabilityOfImprovement(x, y),
          ProbabilityOfImprovementInterval(x, y, kBootstrapSeed)};
}

}  // namespace

std::vector<Comparison> CompareAlgorithms(const Report& report) {
  std::vector<bool> cloning(report.algorithms.size());
  std::map<size_t, int64_t> cloning_context;
  for (const Group& group : report.groups) {
    if (!group.runs[0]->cloning) continue;
    cloning[group.algorithm] = true;
    cloning_context[group.algorithm] = group.context;
  }
  const auto find = [&](size_t task, size_t algorithm, int64_t context) {
    return report.Find(task, algorithm, cloning[algorithm] ? cloning_context[algorithm] : context);
  };
  std::vector<Comparison> comparisons;
  for (const int64_t context : report.contexts) {
    std::set<size_t> kinds;
    for (const Group& group : report.groups) {
      if (group.context == context && !cloning[group.algorithm]) kinds.insert(group.algorithm);
    }
    Comparison comparison;
    comparison.context = context;
    for (size_t task = 0; task < report.tasks.size(); ++task) {
      if (!kinds.empty() &&
          std::ranges::all_of(kinds, [&](size_t kind) { return find(task, kind, context); })) {
        comparison.tasks.push_back(task);
      }
    }
    if (comparison.tasks.empty()) continue;
    for (size_t algorithm = 0; algorithm < report.algorithms.size(); ++algorithm) {
      TaskScores scores;
      for (const size_t task : comparison.tasks) {
        if (const Group* group = find(task, algorithm, context)) scores.push_back(group->Scores());
      }
      if (scores.size() != comparison.tasks.size()) continue;
      comparison.algorithms.push_back(algorithm);
      comparison.scores.push_back(std::move(scores));
    }
    comparisons.push_back(std::move(comparison));
  }
  return comparisons;
}

std::vector<Improvement> Improvements(const Report& report, const Comparison& comparison) {
  std::vector<Improvement> improvements;
  for (size_t i = 0; i < comparison.algorithms.size(); ++i) {
    for (size_t j = i + 1; j < comparison.algorithms.size(); ++j) {
      improvements.push_back(Improve(report.algorithms[comparison.algorithms[i]],
                                     report.algorithms[comparison.algorithms[j]],
                                     comparison.scores[i], comparison.scores[j]));
    }
  }
  return improvements;
}

std::vector<Improvement> ContextImprovements(const Report& report) {
  std::vector<Improvement> improvements;
  for (size_t algorithm = 0; algorithm < report.algorithms.size(); ++algorithm) {
    // by pair of neighboring contexts: the scores of the tasks that have both
    std::map<std::pair<int64_t, int64_t>, std::pair<TaskScores, TaskScores>> pairs;
    for (size_t task = 0; task < report.tasks.size(); ++task) {
      const Group* shorter = nullptr;
      for (const int64_t context : report.contexts) {
        const Group* group = report.Find(task, algorithm, context);
        if (!group) continue;
        if (shorter) {
          auto& [x, y] = pairs[{shorter->context, context}];
          x.push_back(group->Scores());
          y.push_back(shorter->Scores());
        }
        shorter = group;
      }
    }
    const std::string& name = report.algorithms[algorithm];
    for (const auto& [contexts, scores] : pairs) {
      improvements.push_back(Improve(name + " " + std::to_string(contexts.second),
                                     std::to_string(contexts.first), scores.first, scores.second));
    }
  }
  return improvements;
}

}  // namespace cosdt::experiments
