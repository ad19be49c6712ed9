// cosdt data collect: rolls policies out and writes a file in D4RL's layout.
#include <algorithm>
#include <charconv>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <stdexcept>

#include "agents/rollout/collect.h"
#include "datasets/data_folder.h"
#include "datasets/policy_file.h"
#include "datasets/sha256.h"
#include "envs/registry.h"
#include "experiments/commands/commands.h"
#include "experiments/program/options.h"
#include "experiments/program/processes.h"
#include "experiments/program/progress.h"
#include "experiments/program/utf8.h"
#include "experiments/scores/return_report.h"

namespace cosdt::experiments {
namespace {

struct DataCollectCommand {
  std::string env;
  std::vector<std::string> policies;  // NAME or NAME=WEIGHT
  envs::Physics physics = envs::Physics::kD4rl;
  std::string out;
  bool deterministic = false;
  double epsilon = 0;
  bool json = false;
  int processes = 1;
  agents::CollectOptions collect;
};

struct NamedPolicy {
  std::string name;
  double weight = 1;
};

// "policy.hdf5=0.3"; a file whose name has a = is taken as it is.
NamedPolicy ParsePolicy(const std::string& text) {
  const size_t equals = text.rfind('=');
  if (equals == std::string::npos || datasets::IsFile(text)) return {text};
  NamedPolicy policy{text.substr(0, equals)};
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data() + equals + 1, end, policy.weight);
  if (error != std::errc() || rest != end || !(policy.weight > 0)) {
    throw std::invalid_argument("policy: expected POLICY or POLICY=WEIGHT, found '" + text + "'");
  }
  return policy;
}

// Writes the file and says what is in it.
void WriteFile(const DataCollectCommand& command, const envs::Env& env,
               const std::vector<NamedPolicy>& names, const datasets::Transitions& transitions,
               datasets::Hdf5Writer& writer) {
  datasets::WriteTransitions(transitions, writer);
  const std::string& name = names[0].name;
  if (names.size() == 1 && agents::IsPolicyFile(name)) {
    datasets::CopyPolicy(*agents::OpenPolicy(name), writer);
  }
  writer.Commit();
  const std::string sha256 = datasets::Sha256OfFile(command.out);
  const std::optional<std::string> physics = DescribePhysics(env.spec(), command.physics);
  const nlohmann::json report = {{"env", command.env},
                                 {"physics", physics},
                                 {"mujoco_version", envs::MujocoVersion()},
                                 {"seed", command.collect.seed},
                                 {"transitions", transitions.rows()},
                                 {"dataset", {{"path", command.out}, {"sha256", sha256}}}};
  if (command.json) {
    PrintJson(report);
  } else {
    std::printf("%s: %zu transitions%s, sha256 %s\n", command.out.c_str(), transitions.rows(),
                PhysicsText(physics).c_str(), sha256.c_str());
  }
}

void Run(DataCollectCommand& command, agents::ProcessGroup* group) {
  const bool writes = !group || group->is_first();
  const std::unique_ptr<envs::Env> env = envs::MakeEnv(command.env, command.physics);
  std::vector<NamedPolicy> names;
  std::vector<agents::WeightedPolicy> policies;
  for (const std::string& text : command.policies) {
    names.push_back(ParsePolicy(text));
    policies.push_back({agents::MakePolicy(names.back().name, env->fully_observed().spec(),
                                           command.deterministic, command.epsilon),
                        names.back().weight});
  }
  if (command.epsilon > 0 && !std::ranges::count(names, "scripted", &NamedPolicy::name)) {
    throw std::invalid_argument("epsilon: expected --policy scripted, found " + names[0].name);
  }
  std::optional<datasets::Hdf5Writer> writer;
  if (writes) writer.emplace(command.out);  // before the work: a path may not be writable
  datasets::Transitions transitions;
  command.collect.group = group;
  {
    std::optional<Progress> progress;
    if (writes) {
      progress.emplace("collecting", "transitions",
                       static_cast<double>(command.collect.transitions));
      command.collect.progress = [&](int64_t done) { progress->Update(static_cast<double>(done)); };
    }
    transitions = agents::Collect(*env, policies, command.collect);
  }
  if (writes) WriteFile(command, *env, names, transitions, *writer);
}

}  // namespace

void AddDataCollect(CLI::App& data) {
  auto command = std::make_shared<DataCollectCommand>();
  CLI::App* app =
      data.add_subcommand("collect", "play policies and write their steps in D4RL's layout");
  AddEnvOption(*app, command->env)->required();
  app->add_option(
         "--policy", command->policies,
         "random, zero, scripted (T-mazes and games), a file with D4RL's metadata/policy, or a "
         "name such as "
         "demo/hopper-medium; POLICY=WEIGHT, given several times, mixes policies by episode")
      ->required();
  app->add_option("--transitions", command->collect.transitions, "steps to write")
      ->required()
      ->check(CLI::PositiveNumber);
  AddPhysicsOption(*app, command->physics);
  AddSeedOption(*app, command->collect.seed, "of initial states and action noise");
  app->add_flag("--deterministic", command->deterministic, "take the policies' mean actions");
  app->add_option("--epsilon", command->epsilon,
                  "share of uniformly random actions in the script's")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  AddThreadsOption(*app, command->collect.threads);
  AddProcessesOption(*app, command->processes, "play episodes");
  app->add_option("--out", command->out, "file to write")->required();
  app->add_flag("--json", command->json, "print one JSON object");
  app->callback([command] {
    RunTogether(command->processes, [&](agents::ProcessGroup* group) { Run(*command, group); });
  });
}

}  // namespace cosdt::experiments
