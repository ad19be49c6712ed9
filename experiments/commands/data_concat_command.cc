// cosdt data concat: files one after the other, as D4RL's medium-expert ones are made.
#include <cstdio>
#include <memory>

#include "datasets/concat.h"
#include "experiments/commands/commands.h"
#include "experiments/program/options.h"

namespace cosdt::experiments {
namespace {

struct DataConcatCommand {
  std::vector<std::string> datasets;
  std::string out;
  int threads = 1;
};

}  // namespace

void AddDataConcat(CLI::App& data) {
  auto command = std::make_shared<DataConcatCommand>();
  CLI::App* app =
      data.add_subcommand("concat", "write the complete episodes of several files into one");
  app->add_option("datasets", command->datasets, "HDF5 files of D4RL's layout")->required();
  app->add_option("--out", command->out, "file to write")->required();
  AddThreadsOption(*app, command->threads);
  app->callback([command] {
    datasets::ConcatFiles(command->datasets, command->out, command->threads);
    std::printf("%s: written\n", command->out.c_str());
  });
}

}  // namespace cosdt::experiments
