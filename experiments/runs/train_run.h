#pragma once

#include <functional>
#include <optional>
#include <string>

#include "experiments/runs/resolved_run.h"
#include "experiments/scores/results.h"

namespace cosdt::experiments {

// Trains in the folder as agents::TrainingRun does (agents/training/training_run.h), and keeps
// there
//   config.toml           the effective options
//   metrics.jsonl, events.out.tfevents.*   loss and speed every 100 updates, returns of evaluations
//   evaluations.jsonl, best.safetensors    with eval_every: every evaluation as `cosdt eval` gives
//                                          it, and the agent with the best mean return for the
//                                          first target
// With validation, the lines of metrics before saves have validation_loss, and without eval_every
// best.safetensors is the agent with the lowest.
// Prints the data's remark and progress to standard error. Throws what TrainingRun throws, and
// std::runtime_error if a run has begun in the folder and `resume` is false.
//
// In a group, rank 0 alone reads and writes the folder, prints and reports (others give an empty
// report), and std::runtime_error is thrown if processes have other options, data or programs.
TrainReport TrainInFolder(const ResolvedRun& run, const std::string& folder, bool resume,
                          const torch::Device& device, const std::function<bool()>& stop,
                          const agents::DecisionTransformer& initial = nullptr,
                          agents::ProcessGroup* group = nullptr);

// The options that a run in the folder, as rank 0 of the group sees it, began with; none if none
// began.
std::optional<TrainOptions> ReadRunOptions(const std::string& folder,
                                           agents::ProcessGroup* group = nullptr);

}  // namespace cosdt::experiments
