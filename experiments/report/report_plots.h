// The figures of a report, drawn by gnuplot. An algorithm keeps its colour (Okabe and Ito's, which
// are told apart without full colour sight), point shape and dashes through all of them.
#pragma once

#include <string>
#include <vector>

#include "experiments/report/comparison.h"
#include "experiments/report/report_data.h"
#include "experiments/report/svg_plot.h"

namespace cosdt::experiments {

// The functions below return one figure a task, where not said otherwise, and throw
// std::runtime_error where gnuplot cannot be run.

// Interquartile mean and its interval over context.
std::vector<Figure> ScoreFigures(const Report& report);

// Of a training step, over context: microseconds a token.
std::vector<Figure> TrainingTimeFigures(const Report& report);

// Peak megabytes of training and of rollout over context.
std::vector<Figure> MemoryFigures(const Report& report);

// Milliseconds a decision over context, in window and recurrent decoding.
std::vector<Figure> DecisionTimeFigures(const Report& report);

// Loss over updates, the mean over seeds; one figure a task and context.
std::vector<Figure> LearningCurves(const Report& report);

// Attained over requested return, for tasks and contexts where more than one was requested.
std::vector<Figure> TargetFigures(const Report& report);

// Performance profiles, one figure a comparison.
std::vector<Figure> ProfileFigures(const Report& report,
                                   const std::vector<Comparison>& comparisons);

// Probabilities of improvement of algorithms, one figure a comparison, and of contexts.
std::vector<Figure> ImprovementFigures(const Report& report,
                                       const std::vector<Comparison>& comparisons);

}  // namespace cosdt::experiments
