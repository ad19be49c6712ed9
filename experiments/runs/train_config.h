// A training run's options as flags and as TOML.
#pragma once

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdint>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "experiments/runs/train_options.h"

namespace cosdt::experiments {

// Sets an option from a flag's string ("64", "3600,1800", "10%"). Throws std::invalid_argument.
void SetFromText(const TrainField& field, const std::string& text);

// Adds flags for these options to a command, but for those named in `without`; those that are given
// on the command line are put into `flags`, which must outlive the program's parsing.
using TrainFlags = std::map<std::string, std::string>;
void AddTrainFlags(CLI::App& command, const std::set<std::string>& without, TrainFlags& flags);

// Sets the options that `flags` has.
void SetFromFlags(const TrainFlags& flags, TrainOptions& options);

// The option's value as TOML writes it.
std::string ToToml(const TrainField& field);

// Sets the options that a config file names, by their current or old names. `source` is named in
// errors. Throws std::invalid_argument for damaged TOML, an unknown name, with the nearest one, and
// a wrong type.
void ReadToml(const std::string& source, std::string_view toml, TrainOptions& options);

// The contents of a config file. Throws std::invalid_argument if there is none.
std::string ReadConfigFile(const std::string& path);

// All options, to be read back by ReadToml.
std::string WriteToml(TrainOptions options);

// Throws CLI::ValidationError, with which the program ends as for wrong usage, if a value of the
// option is given twice.
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

// The name with the smallest edit distance.
std::string Nearest(const std::string& name, const std::vector<std::string>& names);

}  // namespace cosdt::experiments
