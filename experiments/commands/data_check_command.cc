// cosdt data check: what is wrong with a dataset file, and whose simulator made it.
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "agents/policies/gaussian_policy.h"
#include "agents/rollout/physics_check.h"
#include "agents/rollout/rollout.h"
#include "datasets/check.h"
#include "datasets/episode_ends.h"
#include "datasets/minari_file.h"
#include "datasets/probe.h"
#include "datasets/recorded_env.h"
#include "datasets/sha256.h"
#include "datasets/summary.h"
#include "envs/registry.h"
#include "experiments/commands/commands.h"
#include "experiments/program/data_physics.h"
#include "experiments/program/dataset_lookup.h"
#include "experiments/program/options.h"
#include "experiments/program/progress.h"
#include "experiments/program/utf8.h"
#include "experiments/scores/statistics.h"

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

int TaskHorizon(const std::string& path, const std::string& task) {
  try {
    return envs::MakeEnv(task)->spec().horizon;
  } catch (const std::invalid_argument&) {
    throw datasets::FileError(path, datasets::D4rlFile::kTask, "a task that cosdt knows", task);
  }
}

// A file of either layout, as it is checked.
struct Data {
  bool minari = false, has_policy = false;
  datasets::RecordedEnv recorded;
  datasets::Transitions transitions;
  datasets::Cuts cuts;
  datasets::CheckOptions options;
};

Data Read(const std::string& path, int threads) {
  Data data;
  data.minari = datasets::IsMinariFile(path);
  if (data.minari) {
    const datasets::MinariFile file(path);
    data.recorded = datasets::ReadRecordedEnv(file.hdf5());
    data.transitions = datasets::ReadTransitions(file);
    data.cuts = {file.offsets(), file.ReadEndings()};
  } else {
    const datasets::D4rlFile file(path, threads);
    data.recorded = datasets::ReadRecordedEnv(file.hdf5());
    data.transitions = datasets::ReadTransitions(file);
    data.has_policy = file.Has("metadata/policy");
  }
  return data;
}

// The body that --env, the file's record, name or sizes tell. None for tasks, and none where the
// file says that it was made in something else.
const datasets::Body* FindBody(const std::string& path, const std::string& env, const Data& data) {
  const datasets::Transitions& t = data.transitions;
  if (!t.task.empty()) {
    if (env.empty()) return nullptr;
    throw datasets::FileError(path, datasets::D4rlFile::kTask, "none, for --env was given", t.task);
  }
  if (env.empty()) {
    if (!data.recorded.unlike.empty()) return nullptr;
    return datasets::BodyOf(data.recorded, path, t.observation_size, t.action_size,
                            t.observations[0]);
  }
  const datasets::Body* const body = datasets::FindBody(env);
  if (body->observation_size == t.observation_size && body->action_size == t.action_size) {
    return body;
  }
  throw datasets::FileError(path, "observations", "the sizes of " + env,
                            std::to_string(t.observation_size) + " observations and " +
                                std::to_string(t.action_size) + " actions");
}

// What decides how the file is checked, and where its episodes end.
void SetOptions(const std::string& path, const std::string& env, Data& data) {
  data.options.body = FindBody(path, env, data);
  if (const std::string& task = data.transitions.task; !task.empty()) {
    data.options.horizon = TaskHorizon(path, task);
  } else if (!data.options.body && data.recorded.horizon) {
    data.options.horizon = *data.recorded.horizon;
  } else if (!data.options.body && data.minari) {
    data.options.horizon = data.transitions.rows();  // nothing says what is too long
  }
  // other environments' actions have other ranges
  data.options.unit_actions = data.options.body || (!data.minari && data.recorded.id.empty());
  if (!data.minari) {
    data.cuts = datasets::CutEpisodes(data.transitions.terminals, data.transitions.timeouts,
                                      data.options.horizon);
  }
}

// What the file says of itself against what its steps say.
void CompareVerdict(const datasets::RecordedEnv& recorded, const std::string& verdict,
                    datasets::CheckReport& check) {
  if (verdict == "none") {
    check.findings.push_back({"physics", "next_observations", std::nullopt,
                              "no physics mode steps to what the file says"});
    return;
  }
  const bool same = recorded.physics == verdict ||
                    (verdict == "gymnasium" && recorded.physics.starts_with(verdict));
  if (!recorded.physics.empty() && !same) {
    check.findings.push_back({"physics", recorded.source, std::nullopt,
                              "says " + recorded.physics + ", the steps are " + verdict + "'s"});
  }
  if (verdict != "d4rl") {
    check.notes.push_back({"physics", "next_observations", std::nullopt,
                           "made with " + verdict + "'s body: scores do not compare with D4RL's"});
  }
}

// Adds what needs the simulator.
void Simulate(const DataCheckCommand& command, const std::string& path, const Data& data,
              json& report, datasets::CheckReport& check) {
  const std::string body = data.options.body->name;
  const agents::PhysicsReport replay = agents::ResimulateTransitions(data.transitions, body);
  report["replayed"] = replay.transitions;
  if (replay.transitions > 0) {
    report["verdict"] = replay.verdict;
    for (const auto& [physics, r] : replay.residuals) {
      report["replay"][PhysicsName(physics)] = {
          {"median", r.median}, {"p90", r.p90}, {"max", r.max}};
    }
    CompareVerdict(data.recorded, replay.verdict, check);
  }
  if (!command.no_policy && data.has_policy) {
    report["policy_return"] = PolicyReturns(path, body, command.rollout);
  }
}

// Notes on what a reader should know of the file's kind.
void AddNotes(const Data& data, datasets::CheckReport& check) {
  if (data.minari) {
    check.notes.push_back({"minari", "", std::nullopt,
                           "a Minari file: it is not D4RL's data, and its scores do not compare"});
  }
  if (const std::string& task = data.transitions.task; !task.empty()) {
    check.notes.push_back({"task", datasets::D4rlFile::kTask, std::nullopt,
                           "made in " + task + ": its steps are not replayed, and motion and " +
                               "rewards are not checked against a body's"});
  } else if (!data.options.body && !data.recorded.id.empty()) {
    check.notes.push_back({"env", data.recorded.source, std::nullopt,
                           "made in " + RecordText(data.recorded) +
                               ": its steps are not replayed, and motion and rewards are not " +
                               "checked against a body's"});
  }
}

json Returns(const Data& data) {
  datasets::Episodes episodes;
  episodes.rewards = data.transitions.rewards;
  episodes.offsets = data.cuts.offsets;
  episodes.endings = data.cuts.endings;
  datasets::SumReturns(episodes);
  const datasets::ReturnStatistics returns = datasets::ReturnsOf(episodes);
  return {{"mean", returns.mean}, {"std", returns.std}};
}

// Fills `report` and `check` as far as it comes.
void Check(const DataCheckCommand& command, const std::string& path, json& report,
           datasets::CheckReport& check) {
  datasets::ProbeFile(path);
  report["dataset"]["sha256"] = datasets::Sha256OfFile(path);
  Data data = Read(path, command.rollout.threads);
  SetOptions(path, command.env, data);
  check = datasets::CheckTransitions(path, data.transitions, data.cuts, data.options);
  CheckHash(path, check);
  report["return"] = Returns(data);
  report["made_in"] = DescribeRecord(data.recorded);
  AddNotes(data, check);
  if (data.options.body) {
    report["env"] = data.options.body->name;
    Simulate(command, path, data, report, check);
  } else if (!data.transitions.task.empty()) {
    report["env"] = data.transitions.task;
  }
}

json CheckToJson(const DataCheckCommand& command, const std::string& path) {
  json report = {{"dataset", {{"path", path}}},
                 {"env", nullptr},
                 {"made_in", nullptr},
                 {"mujoco_version", envs::MujocoVersion()},
                 {"seed", command.rollout.seed},
                 {"replay", json::object()},
                 {"verdict", nullptr},
                 {"return", nullptr},
                 {"policy_return", json::object()}};
  datasets::CheckReport check;
  const auto found = [](const datasets::FileError& error) {
    return "expected " + error.expected() + ", found " + error.found();
  };
  try {
    Check(command, path, report, check);
  } catch (const datasets::FlagError& error) {
    check.findings.push_back({"flags", error.array(), error.row(), found(error)});
  } catch (const datasets::FileError& error) {
    check.findings.push_back({"file", error.key(), std::nullopt, found(error)});
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

void PrintCheck(const json& report) {
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
  const json report = CheckToJson(command, FindOrMakeDataset(command.dataset, command.data_dir));
  if (command.json) {
    PrintJson(report);
  } else {
    PrintCheck(report);
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
