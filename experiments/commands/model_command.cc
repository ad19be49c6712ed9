// cosdt model: writes a body as MJCF, for simulators other than this program.
#include <cstdio>
#include <memory>

#include "datasets/atomic_file.h"
#include "envs/registry.h"
#include "experiments/commands/commands.h"
#include "experiments/program/options.h"

namespace cosdt::experiments {
namespace {

struct ModelCommand {
  std::string env, out;
  envs::Physics physics = envs::Physics::kD4rl;
};

void Run(const ModelCommand& command) {
  const std::string mjcf = envs::BodyMjcf(command.env, command.physics);
  if (command.out.empty()) {
    std::fputs(mjcf.c_str(), stdout);
  } else {
    datasets::WriteFile(command.out, mjcf);
  }
}

}  // namespace

void AddModelCommand(CLI::App& program) {
  auto command = std::make_shared<ModelCommand>();
  CLI::App* app = program.add_subcommand(
      "model", "write a body's MJCF, which gymnasium's environments take as xml_file");
  app->add_option("--env", command->env, "body: hopper, halfcheetah or walker2d")
      ->required()
      ->check(CLI::IsMember(envs::BodyNames()));
  AddPhysicsOption(*app, command->physics);
  app->add_option("--out", command->out, "file to write (default: standard output)");
  app->callback([command] { Run(*command); });
}

}  // namespace cosdt::experiments
