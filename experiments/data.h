#pragma once

#include <CLI/CLI.hpp>
#include <string>

namespace cosdt::experiments {

// Each adds a subcommand of `cosdt data`.
void AddDataInfo(CLI::App& data);
void AddDataCheck(CLI::App& data);
void AddDataCollect(CLI::App& data);
void AddDataConcat(CLI::App& data);
void AddDataFetch(CLI::App& data);

// Options with one name and one meaning in these subcommands.
void AddDatasetArgument(CLI::App& command, std::string& dataset);
void AddDataDirOption(CLI::App& command, std::string& data_dir);

// D4RL's normalised score of a return in the body of that name. NaN where it has none.
double ScoreOf(const std::string& env, double episode_return);

}  // namespace cosdt::experiments
