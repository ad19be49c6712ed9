#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "agents/training/training_run.h"

namespace cosdt::experiments {

// All that decides a training run's result. What is 0 or empty of env, physics, targets, layers and
// width, agent.dt.max_timestep, trainer.batch_size, learning_rate and return_scale is open: it
// follows from the agent's kind and the data (ResolveRun in resolved_run.h).
struct TrainOptions : agents::TrainingRunOptions {
  std::string dataset;
  std::string env;                      // in which the agent is evaluated
  std::string physics;                  // likewise
  double top = 100;                     // percent of the episodes that are kept, by return
  std::string normalize_over = "kept";  // episodes, or "all" rows of the file
  double validation = 0;                // percent of these that are held out, to be judged by
  std::string critic;                   // a run's folder or checkpoint; "": none
  double critic_lambda = 0;             // of QCS's weights; 0: the published one of the body
  std::vector<agents::Target> targets;
  int64_t episodes = 10;  // per target in an evaluation
  int64_t threads = 1;

  TrainOptions();  // with all that may be open left open

  // Fills in what the agent's kind alone decides: shape, batch size and learning rate.
  void FillKindDefaults();

  // Fills in what is open but physics: `env` is a known environment, or "" for data of another.
  void FillDefaults();

  // Takes what is open from a run that began with `begun`.
  void FillFrom(const TrainOptions& begun);

  // Throws std::invalid_argument or c10::ValueError if options are out of range or do not fit
  // together. Nothing may be open but env, physics and targets.
  void Validate() const;

  // Throws what Validate() throws for any data: before they are read.
  void ValidateForAnyData() const;
};

// One option by its name, which is that of the flag without dashes and of the config file's key.
using TrainValue =
    std::variant<int64_t*, uint64_t*, double*, std::string*, bool*, std::vector<agents::Target>*>;
struct TrainField {
  std::string name;
  const char* help;
  std::vector<TrainValue> values;  // one per kind of agent that has the option: set to the same
  bool config_only = false;        // has no flag
};
std::vector<TrainField> TrainFields(TrainOptions& options);

// An option's name as it is now: options have been renamed, and files keep the old names.
std::string CurrentOptionName(const std::string& name);

// Old names with the current ones.
struct RenamedOption {
  const char* before;
  const char* now;
};
inline constexpr RenamedOption kRenamedOptions[] = {{"decay", "lr-decay"},
                                                    {"windows", "sample"},
                                                    {"window", "local-window"},
                                                    {"features", "performer-features"},
                                                    {"normalizer", "normalize-over"}};

}  // namespace cosdt::experiments
