#include "experiments/program/dataset_lookup.h"

#include <filesystem>
#include <memory>

#include "agents/behaviour/demo_datasets.h"
#include "datasets/data_folder.h"
#include "experiments/program/default_threads.h"
#include "experiments/program/progress.h"

namespace cosdt::experiments {
namespace {

std::string DemoPath(const std::string& name, const std::string& data_dir) {
  return datasets::DataFolder(data_dir) + "/" + name + ".hdf5";
}

}  // namespace

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

}  // namespace cosdt::experiments
