#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
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

// The path of a dataset given as a path, by D4RL's name, or as one of agents::DemoDatasets().
// Throws datasets::FileError where there is no such file; a demo dataset may still have to be made.
std::string DatasetPath(const std::string& name, const std::string& data_dir);

// The same; a demo dataset is made in the data folder where it is missing.
std::string FindOrMakeDataset(const std::string& name, const std::string& data_dir);

// Makes a demo dataset in the data folder, in place of the one that is there, and gives its path.
// transitions 0 is its usual size.
std::string MakeDemoDataset(const std::string& name, const std::string& data_dir,
                            int64_t transitions);

// D4RL's normalised score of a return in the body of that name. NaN where it has none.
double ScoreOf(const std::string& env, double episode_return);

}  // namespace cosdt::experiments
