// cosdt data fetch: downloads one of D4RL's files, or makes a demo dataset.
#include <cstdio>
#include <memory>
#include <stdexcept>

#include "agents/behaviour/demo_datasets.h"
#include "datasets/data_folder.h"
#include "datasets/fetch.h"
#include "datasets/sha256.h"
#include "experiments/commands/commands.h"
#include "experiments/program/dataset_lookup.h"
#include "experiments/program/options.h"
#include "experiments/program/progress.h"

namespace cosdt::experiments {
namespace {

struct DataFetchCommand {
  std::string name;
  std::string data_dir;
  int64_t transitions = 0;
  datasets::FetchOptions fetch;
};

void Run(DataFetchCommand& command) {
  if (agents::IsDemoDataset(command.name)) {
    const std::string path = MakeDemoDataset(command.name, command.data_dir, command.transitions);
    std::printf("%s: made, sha256 %s\n", path.c_str(), datasets::Sha256OfFile(path).c_str());
    return;
  }
  if (command.transitions != 0) {
    throw std::invalid_argument("transitions: expected a dataset that is made (demo/..), found '" +
                                command.name + "'");
  }
  const datasets::KnownFile* const file = datasets::FindKnownFile(command.name);
  if (!file) {
    std::string names;
    for (const std::string& demo : agents::DemoDatasets()) names += demo + ", ";
    for (const datasets::KnownFile& known : datasets::KnownFiles()) {
      names += std::string(known.name) + ", ";
    }
    throw std::invalid_argument("dataset: expected one of " + names + "found '" + command.name +
                                "'");
  }
  command.fetch.folder = datasets::DataFolder(command.data_dir);
  datasets::FetchResult result;
  {
    Progress progress(file->name, "bytes", static_cast<double>(file->bytes));
    command.fetch.progress = [&](uint64_t done) { progress.Update(static_cast<double>(done)); };
    result = datasets::Fetch(*file, command.fetch);
  }
  if (!result.hash_is_known) {
    std::fprintf(stderr,
                 "cosdt: warning: %s: nobody has recorded D4RL's SHA-256 of it; its size is right, "
                 "and %s.sha256 records the hash of this download\n",
                 result.path.c_str(), result.path.c_str());
  }
  std::printf("%s: %s, sha256 %s\n", result.path.c_str(),
              result.was_there ? "was there" : "downloaded", result.sha256.c_str());
}

}  // namespace

void AddDataFetch(CLI::App& data) {
  auto command = std::make_shared<DataFetchCommand>();
  CLI::App* app =
      data.add_subcommand("fetch", "download one of D4RL's files, or make a demo dataset");
  app->add_option("dataset", command->name,
                  "D4RL's name, e.g. hopper-medium-v2, or demo/hopper-medium")
      ->required();
  AddDataDirOption(*app, command->data_dir);
  app->add_option("--transitions", command->transitions,
                  "size of a demo dataset (default: 100,000, of medium-expert 200,000)")
      ->check(CLI::PositiveNumber);
  app->add_option("--mirror", command->fetch.mirror, "URL of a folder that has the files")
      ->capture_default_str();
  app->callback([command] { Run(*command); });
}

}  // namespace cosdt::experiments
