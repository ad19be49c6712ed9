// The figures of a report, drawn by gnuplot. An algorithm keeps its color (Okabe and Ito's, which
// color-blind readers can tell apart), point shape and dashes in all of them.
#pragma once

#include <string>
#include <vector>

#include "experiments/report/comparison.h"
#include "experiments/report/report_data.h"
#include "experiments/report/svg_plot.h"

namespace cosdt::experiments {

// The functions below return one figure per task unless they say otherwise, and throw
// std::runtime_error if gnuplot cannot be run.

// Interquartile mean and its interval over context.
std::vector<Figure> ScoreFigures(const Report& report);

// Microseconds per token of a training step, over context.
std::vector<Figure> TrainingTimeFigures(const Report& report);

// Peak megabytes of training and of rollout over context.
std::vector<Figure> MemoryFigures(const Report& report);

// Milliseconds per decision over context, in window and recurrent decoding.
std::vector<Figure> DecisionTimeFigures(const Report& report);

// Loss over updates, the mean over seeds; one figure per task and context.
std::vector<Figure> LearningCurves(const Report& report);

// The score for the first target in the evaluations during training, the mean over seeds: over
// updates, then over updates times the time of one; one figure per task and context.
std::vector<Figure> ScoreCurves(const Report& report);

// Attained over requested return, for tasks and contexts with more than one requested.
std::vector<Figure> TargetFigures(const Report& report);

// Performance profiles, one figure per comparison.
std::vector<Figure> ProfileFigures(const Report& report,
                                   const std::vector<Comparison>& comparisons);

// Probabilities of improvement of algorithms, one figure per comparison, and of contexts.
std::vector<Figure> ImprovementFigures(const Report& report,
                                       const std::vector<Comparison>& comparisons);

}  // namespace cosdt::experiments
