#pragma once

#include <CLI/CLI.hpp>
#include <string>

namespace cosdt::experiments {

// Each adds a subcommand that runs when it was chosen.
void AddRolloutCommand(CLI::App& program);
void AddDataCommand(CLI::App& program);
void AddBehaviourCommand(CLI::App& program);
void AddTrainCommand(CLI::App& program);
void AddEvalCommand(CLI::App& program);
void AddCompareCommand(CLI::App& program);
void AddModelCommand(CLI::App& program);
void AddReportCommand(CLI::App& program);
void AddBenchCommand(CLI::App& program);

// Each adds a subcommand of `cosdt data`.
void AddDataInfo(CLI::App& data);
void AddDataCheck(CLI::App& data);
void AddDataCollect(CLI::App& data);
void AddDataConcat(CLI::App& data);
void AddDataFetch(CLI::App& data);

// The dataset that a subcommand of `cosdt data` is about.
void AddDatasetArgument(CLI::App& command, std::string& dataset);

}  // namespace cosdt::experiments
