#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>

#include "envs/model.h"
#include "envs/seeding.h"

namespace cosdt::experiments {

inline constexpr int kMaxThreads = 1024;
inline constexpr int kMaxEpisodes = 10'000'000;

// Options with one name and one meaning in every subcommand.
CLI::Option* AddEnvOption(CLI::App& command, std::string& env);
void AddPhysicsOption(CLI::App& command, envs::Physics& physics);
void AddSeedingOption(CLI::App& command, envs::Seeding& seeding);
void AddSeedOption(CLI::App& command, uint64_t& seed, const std::string& of_what);
void AddEpisodesOption(CLI::App& command, int& episodes);
void AddThreadsOption(CLI::App& command, int& threads);
void AddVideoOption(CLI::App& command, std::string& file);
void AddDataDirOption(CLI::App& command, std::string& data_dir);

// Says on stderr if products that are asked for in bfloat16 are computed in float32 here
// (agents::CpuComputeType).
void SayIfBFloat16IsNotUsed();

}  // namespace cosdt::experiments
