// cosdt compare: trains and evaluates the cells of a sweep.
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "agents/storage/folder_lock.h"
#include "experiments/commands/commands.h"
#include "experiments/program/device.h"
#include "experiments/program/options.h"
#include "experiments/program/stop_signal.h"
#include "experiments/program/utf8.h"
#include "experiments/report/report_data.h"
#include "experiments/report/report_table.h"
#include "experiments/runs/shard.h"
#include "experiments/runs/sweep.h"
#include "experiments/runs/sweep_cell.h"
#include "experiments/runs/train_config.h"

namespace cosdt::experiments {
namespace {

using nlohmann::json;

struct CompareCommand {
  std::string config, out, shard, seeds;
  CellPlace place;
  std::optional<std::vector<std::string>> datasets, attention, baselines;
  std::optional<std::vector<int64_t>> contexts;
  std::optional<std::string> budget;
  TrainFlags flags;
  bool list = false, dry_run = false, json = false;
};

// Defaults, then the sweep file, then flags.
Sweep EffectiveSweep(const CompareCommand& command) {
  Sweep sweep;
  if (!command.config.empty()) ReadSweep(command.config, ReadConfigFile(command.config), sweep);
  if (command.datasets) sweep.datasets = *command.datasets;
  if (command.attention) sweep.attention = *command.attention;
  if (command.contexts) sweep.contexts = *command.contexts;
  if (command.baselines) sweep.baselines = *command.baselines;
  if (command.budget) sweep.budget = *command.budget;
  if (!command.seeds.empty()) sweep.seeds = ParseSeeds(command.seeds);
  SetFromFlags(command.flags, sweep.train);
  return sweep;
}

std::string Duration(double seconds) {
  char text[32];
  if (seconds < 120) {
    std::snprintf(text, sizeof text, "%.0f s", seconds);
  } else if (seconds < 7200) {
    std::snprintf(text, sizeof text, "%.0f min", seconds / 60);
  } else {
    std::snprintf(text, sizeof text, "%.1f h", seconds / 3600);
  }
  return text;
}

std::string Memory(std::optional<int64_t> bytes) {
  if (!bytes) return "memory not measured";
  char text[64];
  std::snprintf(text, sizeof text, "%6.0f MB besides the data", static_cast<double>(*bytes) / 1e6);
  return text;
}

// Prints the cells with what they will take. Those that differ in the seed alone are measured once.
void DryRun(const CompareCommand& command, const std::vector<Cell>& cells, const StopSignal& stop) {
  std::map<std::string, CellEstimate> estimates;
  double seconds = 0;
  json plan = json::array();
  for (const Cell& cell : cells) {
    if (stop.received() != 0) throw CLI::RuntimeError(128 + stop.received());
    const std::string kind = std::filesystem::path(cell.name).parent_path();
    if (!estimates.contains(kind)) {
      try {
        estimates[kind] = EstimateCell(cell, command.place, stop);
      } catch (const std::exception& e) {
        throw std::runtime_error(cell.name + ": " + e.what());
      }
    }
    const CellEstimate& estimate = estimates[kind];
    seconds += estimate.training_seconds + estimate.evaluation_seconds;
    plan.push_back(estimate);
    plan.back()["cell"] = cell.name;
    if (command.json) continue;
    std::printf("%-48s training %8s, evaluation at most %8s, %s\n", cell.name.c_str(),
                Duration(estimate.training_seconds).c_str(),
                Duration(estimate.evaluation_seconds).c_str(),
                Memory(estimate.cost.training_bytes).c_str());
  }
  if (command.json) {
    PrintJson({{"plan", plan}, {"seconds", seconds}});
  } else {
    std::printf("%zu cells, at most %s for one worker\n", cells.size(), Duration(seconds).c_str());
  }
}

// One of the report's words for a cell that has no result.
const char* StateName(CellState state) {
  switch (state) {
    case CellState::kDone:
      return "done";
    case CellState::kWaiting:
      return "waiting";
    case CellState::kRunningElsewhere:
      return "running";
  }
  return "";
}

struct Outcome {
  std::map<std::string, std::string> failed;  // cell, message
  bool stopped = false;
};

Outcome RunCells(const CompareCommand& command, const std::vector<Cell>& cells, const Shard& shard,
                 const StopSignal& stop) {
  Outcome outcome;
  std::vector<double> costs;
  for (const Cell& cell : cells) costs.push_back(ExpectedCost(cell.options));
  for (const size_t i : Deal(shard, costs)) {
    const Cell& cell = cells[i];
    const std::string folder = command.out + "/" + cell.name;
    try {
      if (StateOf(cell, folder) != CellState::kWaiting) continue;
      std::fprintf(stderr, "%s (%zu of %zu)\n", cell.name.c_str(), i + 1, cells.size());
      RunCell(cell, folder, command.place, stop);
    } catch (const agents::FolderInUse&) {
      continue;  // another worker was faster
    } catch (const std::exception& e) {
      if (stop.received() == 0) {
        outcome.failed[cell.name] = e.what();
        std::fprintf(stderr, "cosdt: %s failed: %s\n", cell.name.c_str(), e.what());
      }
    }
    if (stop.received() != 0) {
      outcome.stopped = true;
      break;
    }
  }
  return outcome;
}

// Prints what the sweep's folder holds now, from all workers.
void PrintResults(const CompareCommand& command, const std::vector<Cell>& cells,
                  const Outcome& outcome) {
  json list = json::array();
  std::vector<std::string> done;
  std::map<std::string, size_t> counts;
  for (const Cell& cell : cells) {
    const std::string folder = command.out + "/" + cell.name;
    std::string state, error;
    json entry;
    if (const auto failed = outcome.failed.find(cell.name); failed != outcome.failed.end()) {
      state = "failed";
      error = failed->second;
    } else {
      try {
        state = StateName(StateOf(cell, folder));
        if (state == "done") entry = ReadRun(folder).json;
      } catch (const std::exception& e) {
        state = "damaged";
        error = e.what();
        std::fprintf(stderr, "cosdt: %s is left out: %s\n", cell.name.c_str(), e.what());
      }
    }
    ++counts[state];
    if (state == "done") {
      done.push_back(folder);
      entry["state"] = state;
      list.push_back(std::move(entry));
    } else {
      const agents::AgentOptions& agent = cell.options.agent;
      const attention::AttentionOptions* const attention = agent.attention();
      list.push_back({{"dataset", {{"name", cell.options.dataset}}},
                      {"agent", agent.kind},
                      {"attention", attention ? json(attention->kind) : json()},
                      {"context", agent.context()},
                      {"seed", cell.options.trainer.seed},
                      {"state", state}});
      if (!error.empty()) list.back()["error"] = error;
    }
  }
  if (command.json) {
    PrintJson({{"cells", list}});
    return;
  }
  if (!done.empty()) PrintTable(ReadReport(done));
  for (const auto& [state, count] : counts) std::printf("%zu cells %s\n", count, state.c_str());
}

void Run(const CompareCommand& command) {
  const Sweep sweep = EffectiveSweep(command);
  const std::vector<Cell> cells = MakeCells(sweep, command.place.data_dir);
  if (command.list) {
    for (const Cell& cell : cells) std::printf("%s\n", cell.name.c_str());
    return;
  }
  const StopSignal stop;
  CheckDevice(command.place.device, stop);
  if (command.dry_run) return DryRun(command, cells, stop);
  if (command.out.empty()) throw CLI::RequiredError("--out");
  const Shard shard = command.shard.empty()
                          ? ShardFromEnvironment([](const char* n) { return std::getenv(n); })
                          : ParseShard(command.shard);
  // the user's jobs may be numbered for another purpose
  if (shard.count > 1 && !shard.source.empty()) {
    std::fprintf(
        stderr,
        "cosdt: shard %lld of %lld, from %s (--shard %lld/%lld); --shard 0/1 takes all cells\n",
        static_cast<long long>(shard.index + 1), static_cast<long long>(shard.count),
        shard.source.c_str(), static_cast<long long>(shard.index),
        static_cast<long long>(shard.count));
  }
  // before hours of work: the folder holds nothing of another sweep
  for (const Cell& cell : cells) StateOf(cell, command.out + "/" + cell.name);
  ExpectSameData(cells, command.out);
  const Outcome outcome = RunCells(command, cells, shard, stop);
  PrintResults(command, cells, outcome);
  if (outcome.stopped) {
    std::fprintf(stderr, "cosdt: stopped by signal %d; the same command continues\n",
                 stop.received());
    throw CLI::RuntimeError(128 + stop.received());
  }
  if (!outcome.failed.empty()) throw CLI::RuntimeError(1);
}

}  // namespace

void AddCompareCommand(CLI::App& program) {
  auto command = std::make_shared<CompareCommand>();
  CLI::App* app = program.add_subcommand(
      "compare", "train and evaluate a sweep over contexts, attention kinds, datasets and seeds");
  app->add_option("--config", command->config, "a sweep's TOML file");
  app->add_option("--out", command->out, "the sweep's folder; finished cells are kept");
  AddDataDirOption(*app, command->place.data_dir);
  const auto list = [&](const std::string& name, auto& to, const char* help) {
    app->add_option(name, to, help)->delimiter(',')->allow_extra_args(false);
  };
  list("--datasets", command->datasets, "paths or names, separated by commas");
  list("--attention", command->attention, "attention kinds, separated by commas");
  list("--contexts", command->contexts, "context lengths in steps, separated by commas");
  list("--baselines", command->baselines,
       "bc, bc-10% (behaviour cloning of all episodes, of the best tenth)");
  app->add_option("--seeds", command->seeds, "seeds: 0-9 or 0,3,7");
  app->add_option("--budget", command->budget,
                  "updates: the same number for all contexts; tokens: more for shorter ones");
  app->add_option("--equal", command->budget)->group("");  // its old name
  app->add_option(
      "--shard", command->shard,
      "I/N: the I-th of N shares of about equal cost, from 0; read from Slurm's and MPI's "
      "environment");
  AddDeviceOption(*app, command->place.device,
                  "device that trains; episodes are played on the CPU");
  app->add_flag("--list", command->list, "list the cells");
  app->add_flag("--dry-run", command->dry_run, "estimate time and memory from short measurements");
  app->add_flag("--json", command->json, "print one JSON object");
  AddTrainFlags(*app, kCellOptions, command->flags);
  app->callback([command] { Run(*command); });
}

}  // namespace cosdt::experiments
