// cosdt bench: one subcommand for each benchmark.
#include "experiments/bench/bench.h"
#include "experiments/commands/commands.h"

namespace cosdt::experiments {

void AddBenchCommand(CLI::App& program) {
  CLI::App* bench = program.add_subcommand("bench", "measure speed against alternatives");
  bench->require_subcommand(1);
  AddBenchAttention(*bench);
  AddBenchBehaviour(*bench);
  AddBenchCritics(*bench);
  AddBenchData(*bench);
  AddBenchEnv(*bench);
  AddBenchEval(*bench);
  AddBenchTrain(*bench);
}

}  // namespace cosdt::experiments
