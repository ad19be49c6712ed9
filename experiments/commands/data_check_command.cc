// cosdt data check: what is wrong with a dataset file, and whose simulator made it.
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "agents/rollout/doctor.h"
#include "envs/registry.h"
#include "experiments/commands/commands.h"
#include "experiments/program/data_physics.h"
#include "experiments/program/dataset_lookup.h"
#include "experiments/program/options.h"
#include "experiments/program/utf8.h"
#include "experiments/scores/statistics.h"

namespace cosdt::experiments {
namespace {

using agents::Diagnosis;
using nlohmann::json;

struct DataCheckCommand {
  std::string dataset;
  std::string data_dir;
  agents::DoctorOptions options;
  bool no_policy = false;
  bool json = false;
};

json ToJson(const std::vector<datasets::Finding>& findings) {
  json list = json::array();
  for (const datasets::Finding& f : findings) {
    list.push_back({{"code", f.code},
                    {"key", f.key.empty() ? json() : json(f.key)},
                    {"row", f.row ? json(*f.row) : json()},
                    {"detail", f.detail}});
  }
  return list;
}

json ToJson(const Diagnosis& diagnosis, const std::string& path, uint64_t seed) {
  json report = {{"dataset", {{"path", path}}},
                 {"env", diagnosis.env.empty() ? json() : json(diagnosis.env)},
                 {"made_in", nullptr},
                 {"mujoco_version", envs::MujocoVersion()},
                 {"seed", seed},
                 {"replay", json::object()},
                 {"verdict", nullptr},
                 {"return", nullptr},
                 {"policy_return", json::object()},
                 {"findings", ToJson(diagnosis.check.findings)},
                 {"notes", ToJson(diagnosis.check.notes)}};
  if (!diagnosis.sha256.empty()) report["dataset"]["sha256"] = diagnosis.sha256;
  if (diagnosis.recorded) report["made_in"] = DescribeRecord(*diagnosis.recorded);
  if (const auto& returns = diagnosis.returns) {
    report["return"] = {{"mean", returns->mean}, {"std", returns->std}};
  }
  if (const auto& check = diagnosis.physics) {
    report["replayed"] = check->transitions;
    if (!check->verdict.empty()) report["verdict"] = check->verdict;
    for (const auto& [physics, r] : check->residuals) {
      report["replay"][PhysicsName(physics)] = {
          {"median", r.median}, {"p90", r.p90}, {"max", r.max}};
    }
  }
  for (const auto& [physics, returns] : diagnosis.policy_returns) {
    report["policy_return"][PhysicsName(physics)] = {{"mean", Mean(returns)},
                                                     {"standard_error", StandardError(returns)}};
  }
  return report;
}

void PrintFindings(const char* label, const std::vector<datasets::Finding>& findings) {
  for (const datasets::Finding& f : findings) {
    std::string place;
    if (!f.key.empty()) place += f.key + ": ";
    if (f.row) place += "row " + std::to_string(*f.row) + ": ";
    std::printf("%-8s %s: %s%s\n", label, f.code.c_str(), place.c_str(), f.detail.c_str());
  }
}

void Print(const Diagnosis& diagnosis) {
  PrintFindings("finding", diagnosis.check.findings);
  PrintFindings("note", diagnosis.check.notes);
  if (const auto& check = diagnosis.physics) {
    for (const auto& [physics, r] : check->residuals) {
      std::printf("replay   %-13s residual median %.2g, 90 %% %.2g, max %.2g\n",
                  PhysicsName(physics), r.median, r.p90, r.max);
    }
  }
  for (const auto& [physics, returns] : diagnosis.policy_returns) {
    std::printf("policy   %-13s return %.1f +- %.1f; the file's %.1f\n", PhysicsName(physics),
                Mean(returns), StandardError(returns), diagnosis.returns->mean);
  }
  if (diagnosis.physics && !diagnosis.physics->verdict.empty()) {
    std::printf("verdict  %s physics made this file\n", diagnosis.physics->verdict.c_str());
  }
  if (diagnosis.check.findings.empty()) std::printf("fit\n");
}

void Run(DataCheckCommand& command) {
  agents::DoctorOptions& options = command.options;
  options.play_policy = !command.no_policy;
  options.before_rollout = [&](envs::Physics physics) {
    std::fprintf(stderr, "%d episodes of the file's policy, %s physics\n", options.rollout.episodes,
                 PhysicsName(physics));
  };
  const std::string path = FindOrMakeDataset(command.dataset, command.data_dir);
  const Diagnosis diagnosis = agents::Diagnose(path, options);
  if (command.json) {
    PrintJson(ToJson(diagnosis, path, options.rollout.seed));
  } else {
    Print(diagnosis);
  }
  if (!diagnosis.check.findings.empty()) throw CLI::RuntimeError(1);
}

}  // namespace

void AddDataCheck(CLI::App& data) {
  auto command = std::make_shared<DataCheckCommand>();
  agents::DoctorOptions& options = command->options;
  CLI::App* app = data.add_subcommand(
      "check", "say what is wrong with a file (exit code 1), and whose simulator made it");
  AddDatasetArgument(*app, command->dataset);
  AddDataDirOption(*app, command->data_dir);
  app->add_option("--env", options.env, "body, if the file's name and shapes do not tell")
      ->check(CLI::IsMember(envs::BodyNames()));
  app->add_option("--episodes", options.rollout.episodes,
                  "episodes of the file's own policy in each physics mode")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app->add_flag("--no-policy", command->no_policy, "do not play the file's own policy");
  app->add_option("--seed", options.rollout.seed, "seed of these episodes")->capture_default_str();
  AddThreadsOption(*app, options.rollout.threads);
  app->add_flag("--json", command->json, "print one JSON object");
  app->callback([command] { Run(*command); });
}

}  // namespace cosdt::experiments
