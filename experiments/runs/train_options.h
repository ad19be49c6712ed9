#pragma once

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <sstream>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "agents/models/agent.h"
#include "agents/training/trainer.h"

namespace cosdt::experiments {

// All that decides a training run's result. The names of a config file's keys are those of the
// flags, without dashes in front.
struct TrainOptions {
  std::string dataset;
  std::string env;                  // "": found from the dataset
  std::string physics;              // in which the agent is to be evaluated; "": the data's
  double top = 100;                 // percent of the episodes that are kept, by return
  std::string normalizer = "kept";  // over the episodes kept, or over "all" rows of the file
  std::vector<double> targets;      // empty: the environment's
  agents::AgentOptions agent;
  agents::TrainerOptions trainer;
  int64_t layers = 0, width = 0;  // 0: the agent's usual ones
  int64_t max_timestep = 0;       // 0: the environment's
  double return_scale = 0;        // 0: the environment's
  int64_t updates = 100'000;
  int64_t save_every = 1000;
  int64_t eval_every = 0;  // updates between evaluations; 0: none
  int64_t episodes = 10;   // of each target in an evaluation
  int64_t threads = 1;

  // Fills in what follows from the rest: layers and width.
  void Resolve();

  // Takes from a run that began what was left to the agent's kind and the data: layers, width, env,
  // physics, targets, return_scale and max_timestep where they are 0 or empty.
  void FillFrom(const TrainOptions& begun);

  // Throws std::invalid_argument or c10::ValueError.
  void Validate() const;
};

// One option by its name.
struct TrainField {
  const char* name;
  const char* help;
  std::variant<int64_t*, uint64_t*, double*, std::string*, bool*, std::vector<double>*> value;
};
std::vector<TrainField> TrainFields(TrainOptions& options);

// Sets an option from a flag's text ("64", "3600,1800", "10%"). Throws std::invalid_argument.
void SetFromText(const TrainField& field, const std::string& text);

// Flags of these options for a command, but for those named in `without`; what is given on the
// command line is put into `flags`, which must outlive the program's parsing. And what is there set
// in the options.
using TrainFlags = std::map<std::string, std::string>;
void AddTrainFlags(CLI::App& command, const std::set<std::string>& without, TrainFlags& flags);
void SetFromFlags(const TrainFlags& flags, TrainOptions& options);

// Its value as TOML writes it.
std::string ToToml(const TrainField& field);

// Sets the options that a config file names. `source` is named in errors. Throws
// std::invalid_argument for damaged TOML, an unknown name, with the nearest one, and a wrong type.
void ReadToml(const std::string& source, std::string_view toml, TrainOptions& options);

// A config file's text. Throws std::invalid_argument where there is none.
std::string ReadConfigFile(const std::string& path);

// Throws CLI::ValidationError, with which the program ends as of wrong usage, if a value of the
// option is there twice.
template <class T>
void ExpectDistinct(const std::string& option, std::vector<T> values) {
  std::ranges::sort(values);
  const auto twice = std::ranges::adjacent_find(values);
  if (twice == values.end()) return;
  std::ostringstream text;
  text << *twice;
  throw CLI::ValidationError(option, "expected each value once, found " + text.str() + " twice");
}

// "0-9" or "0,3,7", each once. Throws CLI::ValidationError.
std::vector<uint64_t> ParseSeeds(const std::string& text);

// All options, to be read back by ReadToml.
std::string WriteToml(TrainOptions options);

struct Preset {
  const char* name;
  const char* toml;  // its first line is a comment that says what it is
};
const std::vector<Preset>& Presets();

// Throws std::invalid_argument with the nearest name where there is none.
const Preset& FindPreset(const std::string& name);

// The name with the smallest edit distance.
std::string Nearest(const std::string& name, const std::vector<std::string>& names);

}  // namespace cosdt::experiments
