// cosdt data info: what a dataset file holds, in figures.
#include <cmath>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "datasets/normalizer.h"
#include "datasets/policy_file.h"
#include "datasets/probe.h"
#include "datasets/sha256.h"
#include "datasets/summary.h"
#include "experiments/commands/commands.h"
#include "experiments/program/data_physics.h"
#include "experiments/program/dataset_lookup.h"
#include "experiments/program/default_threads.h"
#include "experiments/program/options.h"
#include "experiments/program/utf8.h"

namespace cosdt::experiments {
namespace {

using nlohmann::json;

struct DataInfoCommand {
  std::string dataset;
  std::string data_dir;
  bool json = false;
};

json TextOrNull(const std::string& text) { return text.empty() ? json() : json(text); }

// metadata/algorithm and metadata/iteration as D4RL's files have them; null if there are none.
json MadeBy(const datasets::Hdf5File& file) {
  if (!file.Has("metadata/algorithm")) return nullptr;
  const datasets::PolicyOrigin origin = datasets::ReadPolicyOrigin(file);
  return {{"algorithm", origin.algorithm}, {"iteration", origin.iteration}};
}

// D4RL's normalized score of a return in the body of that name. NaN if it has none.
double ScoreOf(const std::string& env, double episode_return) {
  if (env.empty()) return NAN;
  const auto range = envs::MakeEnv(env)->spec().score_range;
  return range ? envs::NormalizedScore(*range, episode_return) : NAN;
}

// The report, and what its text says of the physics.
json InfoToJson(const std::string& path, std::string& made_in) {
  datasets::ProbeFile(path);
  const std::string sha256 = datasets::Sha256OfFile(path);
  const datasets::KnownFile* const known = datasets::FindKnownHash(sha256);
  datasets::Episodes episodes =
      datasets::ReadEpisodes(path, {.keep_partial = true, .threads = DefaultThreads()});
  const datasets::Summary summary = datasets::Summarize(path, episodes, known);
  const datasets::Hdf5File file(path);
  const datasets::RecordedEnv recorded = datasets::ReadRecordedEnv(file, known);
  made_in = datasets::RecordText(recorded);
  json report = {
      {"dataset", {{"path", path}, {"sha256", sha256}}},
      {"known_as", known ? json(known->name) : json()},
      {"env", TextOrNull(episodes.env)},
      {"kind", TextOrNull(summary.kind)},
      {"version", summary.version},
      {"made_in", DescribeRecord(recorded)},
      {"made_by", MadeBy(file)},
      {"action_space",
       TextOrNull(episodes.discrete_actions == 0
                      ? ""
                      : "Discrete(" + std::to_string(episodes.discrete_actions) + ")")},
      {"transitions", summary.transitions},
      {"episodes", summary.episodes},
      {"partial_episodes", summary.partial_episodes},
      {"lengths", nullptr},
      {"return", nullptr},
      {"normalized_score", nullptr},
      {"observation_mean", nullptr},
      {"observation_std", nullptr},
  };
  if (summary.episodes == 0) return report;
  report["lengths"] = {
      {"mean", summary.lengths.mean}, {"min", summary.lengths.min}, {"max", summary.lengths.max}};
  report["return"] = {{"mean", summary.returns.mean},
                      {"std", summary.returns.std},
                      {"min", summary.returns.min},
                      {"max", summary.returns.max}};
  const double score = ScoreOf(episodes.env, summary.returns.mean);
  if (!std::isnan(score)) report["normalized_score"] = score;
  datasets::KeepEpisodes(episodes, datasets::CompleteEpisodes(episodes));
  const datasets::Normalizer normalizer = datasets::MakeNormalizer(episodes);
  report["observation_mean"] = normalizer.mean;
  report["observation_std"] = normalizer.std;
  return report;
}

void PrintList(const char* label, const json& list) {
  std::printf("%-17s", label);
  for (const json& x : list) std::printf(" %.5g", x.get<double>());
  std::printf("\n");
}

void PrintInfo(const json& report, const std::string& made_in) {
  const auto text = [&](const char* key) {
    return report[key].is_null() ? std::string("unknown") : report[key].get<std::string>();
  };
  std::printf("file              %s\n", report["dataset"]["path"].get<std::string>().c_str());
  std::printf("sha256            %s\n", report["dataset"]["sha256"].get<std::string>().c_str());
  std::printf("known as          %s\n",
              report["known_as"].is_null() ? "none of D4RL's files" : text("known_as").c_str());
  std::printf("env               %s\n", text("env").c_str());
  std::printf("kind, version     %s, %s\n", text("kind").c_str(), text("version").c_str());
  std::printf("made in           %s\n", made_in.c_str());
  if (const json& by = report["made_by"]; !by.is_null()) {
    std::printf("made by           %s, iteration %d\n", by["algorithm"].get<std::string>().c_str(),
                by["iteration"].get<int>());
  }
  if (!report["action_space"].is_null()) {
    std::printf("action space      %s\n", text("action_space").c_str());
  }
  std::printf("transitions       %zu\n", report["transitions"].get<size_t>());
  std::printf("episodes          %zu complete, %zu partial\n", report["episodes"].get<size_t>(),
              report["partial_episodes"].get<size_t>());
  if (report["return"].is_null()) return;
  const json &r = report["return"], &l = report["lengths"];
  std::printf("length            %.1f in [%zu, %zu]\n", l["mean"].get<double>(),
              l["min"].get<size_t>(), l["max"].get<size_t>());
  std::printf("return            %.2f +- %.2f in [%.2f, %.2f]\n", r["mean"].get<double>(),
              r["std"].get<double>(), r["min"].get<double>(), r["max"].get<double>());
  if (!report["normalized_score"].is_null()) {
    std::printf("normalized score  %.2f\n", report["normalized_score"].get<double>());
  }
  PrintList("observation mean", report["observation_mean"]);
  PrintList("observation std", report["observation_std"]);
}

void Run(const DataInfoCommand& command) {
  std::string made_in;
  const json report = InfoToJson(FindOrMakeDataset(command.dataset, command.data_dir), made_in);
  if (command.json) {
    PrintJson(report);
  } else {
    PrintInfo(report, made_in);
  }
}

}  // namespace

void AddDataInfo(CLI::App& data) {
  auto command = std::make_shared<DataInfoCommand>();
  CLI::App* app = data.add_subcommand("info", "what a file holds, in figures");
  AddDatasetArgument(*app, command->dataset);
  AddDataDirOption(*app, command->data_dir);
  app->add_flag("--json", command->json, "print one JSON object");
  app->callback([command] { Run(*command); });
}

}  // namespace cosdt::experiments
