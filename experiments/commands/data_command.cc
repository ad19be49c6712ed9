// cosdt data: one subcommand for each thing to do with dataset files.
#include "experiments/commands/commands.h"

namespace cosdt::experiments {

void AddDataCommand(CLI::App& program) {
  CLI::App* data = program.add_subcommand("data", "inspect, check, make and download datasets");
  data->require_subcommand(1);
  AddDataInfo(*data);
  AddDataCheck(*data);
  AddDataCollect(*data);
  AddDataConcat(*data);
  AddDataFetch(*data);
}

void AddDatasetArgument(CLI::App& command, std::string& dataset) {
  command
      .add_option(
          "dataset", dataset,
          "an HDF5 file, the name of one of D4RL's in the data folder, or demo/hopper-medium "
          "and the like")
      ->required();
}

}  // namespace cosdt::experiments
