// cosdt data fetch: downloads one of D4RL's files.
#include <cstdio>
#include <memory>
#include <stdexcept>

#include "datasets/data_folder.h"
#include "datasets/fetch.h"
#include "experiments/data.h"
#include "experiments/progress.h"

namespace cosdt::experiments {
namespace {

struct DataFetchCommand {
  std::string name;
  std::string data_dir;
  datasets::FetchOptions fetch;
};

void Run(DataFetchCommand& command) {
  const datasets::KnownFile* const file = datasets::FindKnownFile(command.name);
  if (!file) {
    std::string names;
    for (const datasets::KnownFile& known : datasets::KnownFiles()) {
      names += (names.empty() ? "" : ", ") + std::string(known.name);
    }
    throw std::invalid_argument("dataset: expected one of " + names + ", found '" + command.name +
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
                 "and %s.sha256 records what came\n",
                 result.path.c_str(), result.path.c_str());
  }
  std::printf("%s: %s, sha256 %s\n", result.path.c_str(),
              result.was_there ? "was there" : "downloaded", result.sha256.c_str());
}

}  // namespace

void AddDataFetch(CLI::App& data) {
  auto command = std::make_shared<DataFetchCommand>();
  CLI::App* app = data.add_subcommand("fetch", "download one of D4RL's files");
  app->add_option("dataset", command->name, "D4RL's name, e.g. hopper-medium-v2")->required();
  AddDataDirOption(*app, command->data_dir);
  app->add_option("--mirror", command->fetch.mirror, "URL of a folder that has the files")
      ->capture_default_str();
  app->callback([command] { Run(*command); });
}

}  // namespace cosdt::experiments
