// cosdt data: one subcommand for each thing to do with dataset files.
#include <cmath>

#include "envs/registry.h"
#include "experiments/data.h"
#include "experiments/program.h"

namespace cosdt::experiments {

void AddDataCommand(CLI::App& program) {
  CLI::App* data = program.add_subcommand("data", "look at, check, make and download datasets");
  data->require_subcommand(1);
  AddDataInfo(*data);
  AddDataCheck(*data);
  AddDataCollect(*data);
  AddDataConcat(*data);
  AddDataFetch(*data);
}

void AddDatasetArgument(CLI::App& command, std::string& dataset) {
  command
      .add_option("dataset", dataset,
                  "an HDF5 file, or the name of one of D4RL's in the data folder")
      ->required();
}

void AddDataDirOption(CLI::App& command, std::string& data_dir) {
  command.add_option("--data-dir", data_dir,
                     "folder of downloaded files (default: $COSDT_DATA, else ~/.cache/cosdt)");
}

double ScoreOf(const std::string& env, double episode_return) {
  if (env.empty()) return NAN;
  const auto range = envs::MakeEnv(env)->spec().score_range;
  return range ? envs::NormalizedScore(*range, episode_return) : NAN;
}

}  // namespace cosdt::experiments
