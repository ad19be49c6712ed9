#include <algorithm>
#include <thread>

#include "envs/registry.h"
#include "experiments/program.h"

namespace cosdt::experiments {

void AddEnvOption(CLI::App& command, std::string& env) {
  command.add_option("--env", env, "body or task")
      ->required()
      ->check(CLI::IsMember(envs::EnvNames()));
}

void AddPhysicsOption(CLI::App& command, envs::Physics& physics) {
  std::map<std::string, envs::Physics> names;
  for (const envs::Physics p : envs::kAllPhysics) names[envs::PhysicsName(p)] = p;
  command.add_option("--physics", physics, "whose simulator to reproduce")
      ->transform(CLI::CheckedTransformer(names))
      ->default_str(envs::PhysicsName(physics));
}

void AddThreadsOption(CLI::App& command, int& threads) {
  threads = std::max(1u, std::thread::hardware_concurrency());
  command
      .add_option("--threads", threads,
                  "threads that step the simulation; results do not depend on it")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
}

}  // namespace cosdt::experiments
