#pragma once

#include <string>
#include <vector>

#include "experiments/program/stop_signal.h"
#include "experiments/runs/sweep.h"
#include "experiments/scores/results.h"

namespace cosdt::experiments {

enum class CellState { kDone, kWaiting, kRunningElsewhere };

// Whether the folder has result.json, another process works in it, or there is something to do.
// Throws std::runtime_error if it holds a run of other options, with the first that differs; the
// path of its data may differ.
CellState StateOf(const Cell& cell, const std::string& folder);

// Throws std::runtime_error if a cell of the sweep in `out` has a result from data with another
// SHA-256 than its dataset has now.
void ExpectSameData(const std::vector<Cell>& cells, const std::string& out);

// The folder of a cell's data, and the device that trains it, by name: it is resolved in the
// processes that use it, because CUDA does not survive a fork.
struct CellPlace {
  std::string data_dir, device = "cpu";
};

// Throws std::runtime_error if the device cannot be used.
void CheckDevice(const std::string& device, const StopSignal& stop);

// Trains, measures and evaluates a cell in its folder, each in a process of its own, and writes
// result.json. Continues an earlier attempt. Returns false if `stop` came before the end. Throws
// std::runtime_error for whatever fails.
bool RunCell(const Cell& cell, const std::string& folder, const CellPlace& place,
             const StopSignal& stop);

// From short measurements in a process of its own.
CellEstimate EstimateCell(const Cell& cell, const CellPlace& place, const StopSignal& stop);

}  // namespace cosdt::experiments
