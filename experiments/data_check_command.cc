// cosdt data check: what is wrong with a dataset file, and whose simulator made it.
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "agents/gaussian_policy.h"
#include "agents/replay.h"
#include "agents/rollout.h"
#include "datasets/check.h"
#include "datasets/minari_file.h"
#include "datasets/probe.h"
#include "datasets/sha256.h"
#include "datasets/summary.h"
#include "envs/registry.h"
#include "experiments/data.h"
#include "experiments/program.h"
#include "experiments/progress.h"
#include "experiments/statistics.h"

namespace cosdt::experiments {
namespace {

using nlohmann::json;

struct DataCheckCommand {
  std::string dataset;
  std::string data_dir;
  std::string env;
  agents::RolloutOptions rollout;
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

// Rolls the file's own policy out in every physics mode.
json PolicyReturns(const std::string& path, const std::string& env,
                   const agents::RolloutOptions& options) {
  json report = json::object();
  for (const envs::Physics physics : envs::kAllPhysics) {
    std::fprintf(stderr, "%d episodes of the file's policy, %s physics\n", options.episodes,
                 PhysicsName(physics));
    const std::unique_ptr<envs::Env> body = envs::MakeEnv(env, physics);
    const std::unique_ptr<agents::Policy> policy =
        agents::LoadGaussianPolicy(datasets::Hdf5File(path), body->spec(), false);
    const std::vector<double> returns = agents::Rollout(*body, *policy, options).returns;
    report[PhysicsName(physics)] = {{"mean", Mean(returns)},
                                    {"standard_error", StandardError(returns)}};
  }
  return report;
}

void CheckHash(const std::string& path, datasets::CheckReport& report) {
  const datasets::KnownFile* const known =
      datasets::FindKnownFile(std::filesystem::path(path).stem().string());
  if (!known) return;
  const uint64_t bytes = std::filesystem::file_size(path);
  if (bytes != known->bytes) {
    report.findings.push_back({"hash", "", std::nullopt,
                               "expected " + std::to_string(known->bytes) + " bytes of D4RL's " +
                                   known->name + ", found " + std::to_string(bytes)});
    return;
  }
  const std::string sha256 = datasets::Sha256OfFile(path);
  if (*known->sha256 && sha256 != known->sha256) {
    report.findings.push_back({"hash", "", std::nullopt,
                               std::string("expected SHA-256 ") + known->sha256 + " of D4RL's " +
                                   known->name + ", found " + sha256});
  }
}

// Adds what needs the simulator.
void Simulate(const DataCheckCommand& command, const std::string& path, const datasets::Body& body,
              const datasets::Transitions& transitions, const datasets::D4rlFile& file,
              json& report, datasets::CheckReport& check) {
  const agents::ReplayReport replay = agents::Replay(transitions, body.name);
  report["replayed"] = replay.transitions;
  if (replay.transitions > 0) {
    report["verdict"] = replay.verdict;
    report["replay"] = json::object();
    for (const auto& [physics, r] : replay.residuals) {
      report["replay"][PhysicsName(physics)] = {
          {"median", r.median}, {"p90", r.p90}, {"max", r.max}};
    }
    if (replay.verdict == "none") {
      check.findings.push_back({"physics", "next_observations", std::nullopt,
                                "no physics mode steps to what the file says"});
    } else if (replay.verdict != "d4rl") {
      check.notes.push_back(
          {"physics", "next_observations", std::nullopt,
           "made with " + replay.verdict + "'s body: scores do not compare with D4RL's"});
    }
  }
  if (!command.no_policy && file.Has("metadata/policy")) {
    report["policy_return"] = PolicyReturns(path, body.name, command.rollout);
  }
}

int TaskHorizon(const std::string& path, const std::string& task) {
  try {
    return envs::MakeEnv(task)->spec().horizon;
  } catch (const std::invalid_argument&) {
    throw datasets::FileError(path, datasets::D4rlFile::kTask, "a task that cosdt knows", task);
  }
}

json Report(const DataCheckCommand& command, const std::string& path) {
  json report = {{"dataset", {{"path", path}}},
                 {"env", nullptr},
                 {"mujoco_version", envs::MujocoVersion()},
                 {"seed", command.rollout.seed},
                 {"replay", json::object()},
                 {"verdict", nullptr},
                 {"return", nullptr},
                 {"policy_return", json::object()}};
  datasets::CheckReport check;
  try {
    datasets::ProbeFile(path);
    report["dataset"]["sha256"] = datasets::Sha256OfFile(path);
    if (datasets::IsMinariFile(path)) {
      datasets::ReadEpisodes(path);  // throws where the file is unfit
      check.notes.push_back({"minari", "", std::nullopt,
                             "a Minari file: only its structure was checked; it is not D4RL's data "
                             "and its scores do not compare"});
    } else {
      const datasets::D4rlFile file(path, command.rollout.threads);
      const datasets::Transitions transitions = datasets::ReadTransitions(file);
      const std::string& task = transitions.task;
      if (!task.empty() && !command.env.empty()) {
        throw datasets::FileError(path, datasets::D4rlFile::kTask, "none, for --env was given",
                                  task);
      }
      const datasets::Body* body = nullptr;
      int horizon = 1000;
      if (!task.empty()) {
        horizon = TaskHorizon(path, task);
      } else if (command.env.empty()) {
        body = datasets::GuessBody(path, file.observation_size(), file.action_size(),
                                   transitions.observations[0]);
      } else {
        body = datasets::FindBody(command.env);
      }
      if (body && (body->observation_size != file.observation_size() ||
                   body->action_size != file.action_size())) {
        throw datasets::FileError(path, "observations", "the sizes of " + command.env,
                                  std::to_string(file.observation_size()) + " observations and " +
                                      std::to_string(file.action_size()) + " actions");
      }
      check = datasets::CheckTransitions(path, transitions, body, horizon);
      CheckHash(path, check);
      datasets::Episodes episodes;
      episodes.rewards = transitions.rewards;
      datasets::Cuts cuts =
          datasets::CutEpisodes(transitions.terminals, transitions.timeouts, horizon);
      episodes.offsets = std::move(cuts.offsets);
      episodes.endings = std::move(cuts.endings);
      datasets::SumReturns(episodes);
      const datasets::ReturnStatistics returns = datasets::ReturnsOf(episodes);
      report["return"] = {{"mean", returns.mean}, {"std", returns.std}};
      if (!task.empty()) {
        report["env"] = task;
        check.notes.push_back({"task", datasets::D4rlFile::kTask, std::nullopt,
                               "made in " + task + ": its steps are not replayed, and motion and " +
                                   "rewards are not checked against a body's"});
      }
      if (body) {
        report["env"] = body->name;
        Simulate(command, path, *body, transitions, file, report, check);
      }
    }
  } catch (const datasets::FileError& error) {
    check.findings.push_back({"file", error.key(), std::nullopt,
                              "expected " + error.expected() + ", found " + error.found()});
  }
  report["findings"] = ToJson(check.findings);
  report["notes"] = ToJson(check.notes);
  return report;
}

void PrintFindings(const char* label, const json& list) {
  for (const json& f : list) {
    std::string place;
    if (!f["key"].is_null()) place += f["key"].get<std::string>() + ": ";
    if (!f["row"].is_null()) place += "row " + f["row"].dump() + ": ";
    std::printf("%-8s %s: %s%s\n", label, f["code"].get<std::string>().c_str(), place.c_str(),
                f["detail"].get<std::string>().c_str());
  }
}

void Print(const json& report) {
  PrintFindings("finding", report["findings"]);
  PrintFindings("note", report["notes"]);
  for (const auto& [physics, r] : report["replay"].items()) {
    std::printf("replay   %-13s residual median %.2g, 90 %% %.2g, max %.2g\n", physics.c_str(),
                r["median"].get<double>(), r["p90"].get<double>(), r["max"].get<double>());
  }
  for (const auto& [physics, r] : report["policy_return"].items()) {
    const json& file = report["return"];
    std::printf("policy   %-13s return %.1f +- %.1f; the file's %.1f\n", physics.c_str(),
                r["mean"].get<double>(), r["standard_error"].get<double>(),
                file["mean"].get<double>());
  }
  if (!report["verdict"].is_null()) {
    std::printf("verdict  %s physics made this file\n",
                report["verdict"].get<std::string>().c_str());
  }
  if (report["findings"].empty()) std::printf("fit\n");
}

void Run(const DataCheckCommand& command) {
  const json report = Report(command, FindOrMakeDataset(command.dataset, command.data_dir));
  if (command.json) {
    std::printf("%s\n", report.dump().c_str());
  } else {
    Print(report);
  }
  if (!report["findings"].empty()) throw CLI::RuntimeError(1);
}

}  // namespace

void AddDataCheck(CLI::App& data) {
  auto command = std::make_shared<DataCheckCommand>();
  command->rollout.episodes = 100;
  CLI::App* app = data.add_subcommand(
      "check", "what is wrong with a file (exit code 1), and whose simulator made it");
  AddDatasetArgument(*app, command->dataset);
  AddDataDirOption(*app, command->data_dir);
  app->add_option("--env", command->env, "body, where the file's name and shapes do not tell")
      ->check(CLI::IsMember(envs::BodyNames()));
  app->add_option("--episodes", command->rollout.episodes,
                  "of the file's own policy in each physics mode")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app->add_flag("--no-policy", command->no_policy, "do not roll the file's policy out");
  app->add_option("--seed", command->rollout.seed, "of these episodes")->capture_default_str();
  AddThreadsOption(*app, command->rollout.threads);
  app->add_flag("--json", command->json, "print one JSON object");
  app->callback([command] { Run(*command); });
}

}  // namespace cosdt::experiments
