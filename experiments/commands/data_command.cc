// cosdt data: one subcommand for each thing to do with dataset files.
#include <cmath>
#include <filesystem>
#include <memory>

#include "agents/behaviour/demo_datasets.h"
#include "datasets/data_folder.h"
#include "envs/registry.h"
#include "experiments/program/dataset_lookup.h"
#include "experiments/program/default_threads.h"
#include "experiments/program/program.h"
#include "experiments/program/progress.h"

namespace cosdt::experiments {
namespace {

std::string DemoPath(const std::string& name, const std::string& data_dir) {
  return datasets::DataFolder(data_dir) + "/" + name + ".hdf5";
}

}  // namespace

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
      .add_option(
          "dataset", dataset,
          "an HDF5 file, the name of one of D4RL's in the data folder, or demo/hopper-medium "
          "and the like")
      ->required();
}

void AddDataDirOption(CLI::App& command, std::string& data_dir) {
  command.add_option("--data-dir", data_dir,
                     "folder of downloaded files (default: $COSDT_DATA, else ~/.cache/cosdt)");
}

std::string DatasetPath(const std::string& name, const std::string& data_dir) {
  const bool demo = agents::IsDemoDataset(name) && !datasets::IsFile(name);
  return demo ? DemoPath(name, data_dir) : datasets::FindDataset(name, data_dir);
}

std::string FindOrMakeDataset(const std::string& name, const std::string& data_dir) {
  const std::string path = DatasetPath(name, data_dir);
  return datasets::IsFile(path) ? path : MakeDemoDataset(name, data_dir, 0);
}

std::string MakeDemoDataset(const std::string& name, const std::string& data_dir,
                            int64_t transitions) {
  const std::string path = DemoPath(name, data_dir);
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  std::unique_ptr<Progress> progress;
  agents::MakeDemoDataset(name, path,
                          {.transitions = transitions,
                           .threads = DefaultThreads(),
                           .progress = [&](int64_t done, int64_t total) {
                             if (!progress) {
                               progress = std::make_unique<Progress>(
                                   "making " + name, "transitions", static_cast<double>(total));
                             }
                             progress->Update(static_cast<double>(done));
                           }});
  return path;
}

double ScoreOf(const std::string& env, double episode_return) {
  if (env.empty()) return NAN;
  const auto range = envs::MakeEnv(env)->spec().score_range;
  return range ? envs::NormalizedScore(*range, episode_return) : NAN;
}

}  // namespace cosdt::experiments
