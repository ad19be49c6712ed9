// Algorithms and contexts of a report against each other.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "experiments/report/report_data.h"
#include "experiments/scores/statistics.h"

namespace cosdt::experiments {

// Algorithms side by side at one context, on the tasks that all attention kinds of this context
// have runs of. Behavior cloning, which has no context, joins if it has runs of these tasks.
struct Comparison {
  int64_t context = 0;
  std::vector<size_t> tasks;
  std::vector<size_t> algorithms;
  std::vector<TaskScores> scores;  // of each algorithm
};

// One per context with something to compare.
std::vector<Comparison> CompareAlgorithms(const Report& report);

// How likely a run of one side scores above a run of the other.
struct Improvement {
  std::string of, over;
  size_t tasks = 0;  // that both sides have runs of
  double probability = 0;
  Interval interval;
};

// Each algorithm over each later one.
std::vector<Improvement> Improvements(const Report& report, const Comparison& comparison);

// Each context over the next shorter one of the same algorithm: "softmax 20" over "5".
std::vector<Improvement> ContextImprovements(const Report& report);

}  // namespace cosdt::experiments
