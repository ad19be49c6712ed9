#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>

#include "envs/model.h"
#include "envs/seeding.h"

namespace cosdt::experiments {

// The versions of the program and of what it is built on, one a line.
std::string VersionText();

std::string TorchVersion();

// Each adds a subcommand that runs when it was chosen.
void AddRolloutCommand(CLI::App& program);
void AddDataCommand(CLI::App& program);
void AddBehaviourCommand(CLI::App& program);
void AddTrainCommand(CLI::App& program);
void AddEvalCommand(CLI::App& program);
void AddCompareCommand(CLI::App& program);
void AddReportCommand(CLI::App& program);
void AddBenchCommand(CLI::App& program);

// Options with one name and one meaning in every subcommand.
void AddEnvOption(CLI::App& command, std::string& env);
void AddPhysicsOption(CLI::App& command, envs::Physics& physics);
void AddSeedingOption(CLI::App& command, envs::Seeding& seeding);
void AddSeedOption(CLI::App& command, uint64_t& seed, const std::string& of_what);
void AddEpisodesOption(CLI::App& command, int& episodes);
void AddThreadsOption(CLI::App& command, int& threads);
void AddVideoOption(CLI::App& command, std::string& file);

// Says so on stderr where the processor has no bfloat16 products.
void WarnOfSlowBFloat16();

}  // namespace cosdt::experiments
