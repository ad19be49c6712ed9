#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "experiments/program/stop_signal.h"
#include "experiments/runs/sweep.h"

namespace cosdt::experiments {

enum class CellState { kDone, kWaiting, kRunningElsewhere };

// Whether result.json is there, another process works in the folder, or there is something to do.
// Throws std::runtime_error where a run of other options stands there, with the first that differs;
// the path of its data may differ.
CellState StateOf(const Cell& cell, const std::string& folder);

// Throws std::runtime_error where a cell of the sweep in `out` has a result from data with another
// SHA-256 than its dataset has now.
void ExpectSameData(const std::vector<Cell>& cells, const std::string& out);

// Where a cell's data are searched, and the device that trains it, by its name: it is resolved in
// the processes that use it, because CUDA does not outlive a fork.
struct CellPlace {
  std::string data_dir, device = "cpu";
};

// Throws std::runtime_error where the device cannot be used.
void CheckDevice(const std::string& device, const StopSignal& stop);

// Trains, measures and evaluates a cell in its folder, each in a process of its own, and writes
// result.json. Goes on where an earlier attempt ended. Gives false where `stop` came before the
// end. Throws std::runtime_error for whatever fails.
bool RunCell(const Cell& cell, const std::string& folder, const CellPlace& place,
             const StopSignal& stop);

// What a cell will take, from short measurements in a process of its own: what MeasureTraining
// gives and training_seconds and evaluation_seconds, the latter at most.
nlohmann::json EstimateCell(const Cell& cell, const CellPlace& place, const StopSignal& stop);

}  // namespace cosdt::experiments
