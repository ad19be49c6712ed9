#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "datasets/episodes.h"
#include "experiments/runs/train_options.h"

namespace cosdt::experiments {

// What a run reads: its dataset as the options ask for it.
struct TrainData {
  std::string path, sha256;
  std::string remark;  // about its physics, for the user, in one line; "" where there is none
  datasets::Episodes episodes;
  datasets::Normalizer normalizer;
};

// Sets what env, a known environment or "", decides and the options leave open: targets, the scale
// of returns, the size of the timestep table.
void FillEnvOptions(TrainOptions& options);

// Reads the dataset and fills in what follows from it: env, physics (data_physics.h), targets,
// return scale, timesteps, the agent's sizes; a path of the dataset becomes absolute. Throws
// FileError and std::invalid_argument, also for a path that is not UTF-8.
TrainData ReadTrainData(TrainOptions& options, const std::string& data_dir);

// Prints the remark to standard error.
void SayRemark(const TrainData& data);

// Trains in the folder, which another process must not have open:
//   config.toml           the effective options
//   last.safetensors      the agent at the last save (agents/models/checkpoint.h)
//   resume.safetensors    all that going on needs; written after it
//   metrics.jsonl, events.out.tfevents.*   loss and speed every 100 updates, returns of evaluations
//   evaluations.jsonl, best.safetensors    with eval_every: every evaluation as `cosdt eval` gives
//                                          it, and the agent with the best mean return for the
//                                          first target
// With `resume` it goes on from the last save, if there is one: after a kill at any moment the
// final weights are those of an undisturbed run, bit for bit. `stop` is asked after every update,
// on a GPU after as many as take a fraction of a second; where it says so, the run is saved and
// ends. A run that begins takes the weights of `initial`,
// which has the options' shape, where it is given. Returns what `cosdt train --json` reports.
// Throws std::runtime_error where there is a run already and `resume` is false, where the run began
// with data of another SHA-256, and where a limit on the size of files (ulimit -f) is too small for
// resume.safetensors; where training fails, after saving the last good weights.
nlohmann::json TrainInFolder(const TrainOptions& options, const TrainData& data,
                             const std::string& folder, bool resume, const torch::Device& device,
                             const std::function<bool()>& stop,
                             const agents::DecisionTransformer& initial = nullptr);

// The options that a run in the folder began with, or null where none began.
std::optional<TrainOptions> ReadRunOptions(const std::string& folder);

}  // namespace cosdt::experiments
