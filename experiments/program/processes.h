// Commands that several processes run together: those of torchrun, srun or mpirun, or those that
// --processes starts on this machine.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>
#include <vector>

#include "agents/processes/process_group.h"

namespace cosdt::experiments {

// --processes; `what` they do together.
void AddProcessesOption(CLI::App& command, int& processes, const std::string& what);

// Calls work(group) in every process of the group, or work(nullptr) in this one if no launcher has
// started it and `processes` is 1. With more, they are started here and work in their turn, each on
// its share of the processors; this one passes a stop on to them, waits, and throws
// CLI::RuntimeError with their exit code unless it is 0. Called before anything that starts
// threads. If work fails in several processes, one of them says so: its message names the rank.
// Throws std::invalid_argument if there is a launcher and --processes, and what FindProcessPlace
// and ProcessGroup throw.
void RunTogether(int processes, const std::function<void(agents::ProcessGroup*)>& work);

// Processors in `count` parts, neighbours together: the threads of a core and the cores of a socket
// stay in one part as far as the count allows. Empty if there are fewer than parts. `root` holds
// sys/, with the cores.
std::vector<std::vector<int>> SplitProcessors(std::vector<int> processors, int count,
                                              const std::string& root = "/");

}  // namespace cosdt::experiments
