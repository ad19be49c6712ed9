#include "experiments/report/report_data.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <limits>
#include <map>
#include <set>
#include <tuple>

#include "agents/models/actor_critic.h"
#include "agents/models/target.h"
#include "datasets/file_error.h"
#include "datasets/file_kind.h"
#include "datasets/known_files.h"
#include "experiments/report/find_runs.h"
#include "experiments/scores/metric_name.h"

namespace cosdt::experiments {
namespace {

using datasets::FileError;
using nlohmann::json;

// A value within a file, with the path of keys that led to it.
class Field {
 public:
  Field(const json& value, const std::string& file, const std::string& key)
      : value_(value), file_(file), key_(key) {}

  Field operator[](const std::string& name) const {
    if (!value_.is_object()) Fail("an object");
    const auto found = value_.find(name);
    const std::string key = key_.empty() ? name : key_ + "." + name;
    if (found == value_.end()) throw FileError(file_, key, "a value", "none");
    return {*found, file_, key};
  }

  bool has(const std::string& name) const { return value_.is_object() && value_.contains(name); }
  bool null() const { return value_.is_null(); }
  bool Is(const char* text) const { return value_ == text; }

  std::string Text() const {
    if (!value_.is_string()) Fail("a string");
    return value_.get<std::string>();
  }
  double Number() const {
    if (!value_.is_number()) Fail("a number");
    return value_.get<double>();
  }
  double NumberOrNan() const {
    return null() ? std::numeric_limits<double>::quiet_NaN() : Number();
  }
  uint64_t Count() const {
    if (!value_.is_number_unsigned()) Fail("a whole number");
    return value_.get<uint64_t>();
  }
  int64_t Size() const {
    if (Count() > INT64_MAX) Fail("a whole number below 2^63");
    return value_.get<int64_t>();
  }
  std::vector<Field> List() const {
    if (!value_.is_array() || value_.empty()) Fail("a list with entries");
    std::vector<Field> list;
    for (size_t i = 0; i < value_.size(); ++i) {
      list.emplace_back(value_[i], file_, key_ + "[" + std::to_string(i) + "]");
    }
    return list;
  }
  [[noreturn]] void Fail(const std::string& expected) const {
    // a value may be nested deeper than the stack allows
    std::string found = value_.empty()       ? value_.dump()
                        : value_.is_array()  ? "a list"
                        : value_.is_object() ? "an object"
                                             : value_.dump();
    if (found.size() > 40) found = found.substr(0, 37) + "...";
    throw FileError(file_, key_, expected, found);
  }

 private:
  const json& value_;
  std::string file_, key_;
};

std::ifstream Open(const std::string& path) {
  if (const std::string why = datasets::WhyNoFile(path); !why.empty()) {
    throw FileError(path, "", "a readable file", why);
  }
  return std::ifstream(path, std::ios::binary);
}

// An evaluation's score for the run's first target; none if the line is of something else.
std::optional<double> ScoreOf(const Field& line, const json& target) {
  const auto name = [&](const char* value) { return MetricName(value, target); };
  if (!line.has(name("return"))) return std::nullopt;
  if (line.has(name("success_rate"))) return 100 * line[name("success_rate")].Number();
  if (line.has(name("normalized_score"))) return line[name("normalized_score")].Number();
  return 100 * line[name("return")].Number();
}

// The curves of a run whose targets are known.
void ReadMetrics(const std::string& path, RunResult& run) {
  std::ifstream file = Open(path);
  const json& target = run.json["targets"][0]["target"];
  int number = 0;
  for (std::string text; std::getline(file, text);) {
    const json line = json::parse(text, nullptr, false);
    const std::string key = "line " + std::to_string(++number);
    if (line.is_discarded()) throw FileError(path, key, "JSON", "'" + text.substr(0, 40) + "'");
    const Field field(line, path, key);
    const double update = field["update"].Number();
    if (field.has("loss")) {
      run.losses.push_back({update, field["loss"].NumberOrNan()});
    } else if (const std::optional<double> score = ScoreOf(field, target)) {
      run.scores.push_back({update, *score});
    }
  }
}

constexpr std::pair<const char*, const char*> kWithCritics[] = {
    {"td3bc", agents::Td3BcOptions::kName},
    {"rebrac", agents::RebracOptions::kName},
    {"iql", agents::IqlOptions::kName}};

std::string AlgorithmName(const Field& result, double top) {
  const std::string agent = result["agent"].Text();
  std::string name = "BC";
  if (agent == "dt") {
    name = result["attention"].Text();
    if (name == "cosformer") {
      // the bare name is for the default feature map
      name = result["feature_map"].Text() == "relu" ? "cosFormer (ReLU)" : "cosFormer";
    }
    if (result.has("half_life") && !result["half_life"].null()) {  // older results have none
      char text[32];
      std::snprintf(text, sizeof text, ", half-life %g", result["half_life"].Number());
      name += text;
    }
  } else if (agent != "bc") {
    const auto found =
        std::ranges::find(kWithCritics, agent, &std::pair<const char*, const char*>::first);
    if (found == std::end(kWithCritics)) result["agent"].Fail("dt, bc, td3bc, rebrac or iql");
    name = found->second;
  }
  if (result.has("critic")) name += " + " + result["critic"].Text();
  if (top == 100) return name;
  char share[32];
  std::snprintf(share, sizeof share, "%g%% ", top);
  return share + name;
}

Task TaskOf(const RunResult& run) {
  Task task{.dataset = run.dataset,
            .env = run.env,
            .score_name = run.score_name,
            .sha256 = run.dataset_sha256,
            .label = run.dataset};
  if (run.dataset.find(run.env) == std::string::npos) task.label += " (" + run.env + ")";
  task.published =
      run.physics == "d4rl" && datasets::FindKnownHash(run.dataset_sha256) &&
      datasets::FindKnownHash(run.dataset_sha256) == datasets::FindKnownFile(run.dataset);
  return task;
}

// Runs may name the same data by several paths and by a name, which is shorter.
void NameDatasetsOnce(std::vector<RunResult>& runs) {
  std::map<std::string, std::pair<size_t, std::string>> names;
  for (const RunResult& run : runs) {
    const std::pair name(run.dataset.size(), run.dataset);
    const auto [entry, added] = names.try_emplace(run.dataset_sha256, name);
    entry->second = std::min(entry->second, name);
  }
  for (RunResult& run : runs) run.dataset = names[run.dataset_sha256].second;
}

// Throws if two runs with the same key differ in a value.
template <typename Key, typename Value>
void RequireSame(const std::vector<const RunResult*>& runs, const std::string& what, Key key,
                 Value value) {
  std::map<decltype(key(*runs[0])), const RunResult*> first;
  for (const RunResult* run : runs) {
    const auto [entry, added] = first.try_emplace(key(*run), run);
    const RunResult* other = entry->second;
    if (value(*run) != value(*other)) {
      throw FileError(run->folder, "", what + " " + value(*other) + " as in " + other->folder,
                      value(*run));
    }
  }
}

auto GroupKey(const RunResult& run) {
  return std::tuple(run.dataset, run.env, run.algorithm, run.context);
}

std::string GroupName(const RunResult& run) {
  return run.dataset + ", " + run.algorithm + ", context " + std::to_string(run.context);
}

void RequireComparable(const std::vector<RunResult>& runs) {
  std::vector<const RunResult*> all, simulated;  // the others do not depend on MuJoCo
  for (const RunResult& run : runs) {
    all.push_back(&run);
    if (!run.physics.empty()) simulated.push_back(&run);
  }
  const auto any = [](const RunResult&) { return 0; };
  RequireSame(simulated, "physics", any, [](const RunResult& run) { return run.physics; });
  RequireSame(simulated, "MuJoCo", any, [](const RunResult& run) { return run.mujoco_version; });
  const auto dataset = [](const RunResult& run) { return run.dataset; };
  RequireSame(all, "the dataset's SHA-256", dataset,
              [](const RunResult& run) { return run.dataset_sha256; });
  RequireSame(all, "the score", GroupKey, [](const RunResult& run) { return run.score_name; });
  RequireSame(all, "updates", GroupKey,
              [](const RunResult& run) { return std::to_string(run.updates); });
  std::map<std::pair<decltype(GroupKey(runs[0])), uint64_t>, std::string> seeds;
  for (const RunResult& run : runs) {
    const auto [entry, added] = seeds.try_emplace({GroupKey(run), run.seed}, run.folder);
    if (!added) {
      throw FileError(run.folder, "seed", "one run per seed of " + GroupName(run),
                      "another of seed " + std::to_string(run.seed) + " in " + entry->second);
    }
  }
}

template <typename T>
size_t IndexOf(const std::vector<T>& list, const T& value) {
  return std::ranges::find(list, value) - list.begin();
}

void GroupRuns(Report& report) {
  std::set<Task> tasks;
  // in the order shown: cosFormer first, learning from all data before learning from the best
  std::set<std::tuple<bool, double, bool, std::string>> algorithms;
  std::set<int64_t> contexts;
  for (const RunResult& run : report.runs) {
    tasks.insert(TaskOf(run));
    algorithms.insert(
        {run.cloning, -run.top, !run.algorithm.starts_with("cosFormer"), run.algorithm});
    contexts.insert(run.context);
  }
  report.tasks.assign(tasks.begin(), tasks.end());
  std::ranges::stable_sort(report.tasks, {}, &Task::label);
  for (const auto& algorithm : algorithms) report.algorithms.push_back(std::get<3>(algorithm));
  report.contexts.assign(contexts.begin(), contexts.end());

  std::map<std::tuple<size_t, size_t, int64_t>, std::vector<const RunResult*>> groups;
  for (const RunResult& run : report.runs) {
    groups[{IndexOf(report.tasks, TaskOf(run)), IndexOf(report.algorithms, run.algorithm),
            run.context}]
        .push_back(&run);
  }
  for (auto& [key, runs] : groups) {
    Group group;
    std::tie(group.task, group.algorithm, group.context) = key;
    group.runs = std::move(runs);
    std::ranges::sort(group.runs, {}, &RunResult::seed);
    const std::vector<double> scores = group.Scores();
    group.mean = experiments::Mean(scores);
    group.std = Std(scores);
    group.iqm = InterquartileMean(scores);
    group.iqm_interval = StratifiedInterval({scores}, AggregateInterquartileMean, kBootstrapSeed);
    report.groups.push_back(std::move(group));
  }
}

}  // namespace

RunResult ReadRun(const std::string& folder) {
  const std::string path = folder + "/result.json";
  std::ifstream file = Open(path);
  RunResult run;
  run.folder = folder;
  run.json = json::parse(file, nullptr, false);
  if (run.json.is_discarded()) throw FileError(path, "", "JSON", "something else");
  const Field result(run.json, path, "");
  run.dataset = result["dataset"]["name"].Text();
  run.dataset_sha256 = result["dataset"]["sha256"].Text();
  run.env = result["env"].Text();
  if (!result["physics"].null()) {
    run.physics = result["physics"].Text();
    run.mujoco_version = result["mujoco_version"].Text();
  }
  run.torch_version = result["torch_version"].Text();
  run.top = result["top"].Number();
  run.algorithm = AlgorithmName(result, run.top);
  run.cloning = result["agent"].Text() != "dt";
  run.context = result["context"].Size();
  if (run.context == 0) result["context"].Fail("at least 1");
  run.seed = result["seed"].Count();
  run.updates = result["updates"].Size();
  run.batch_size = result["batch_size"].Size();
  run.parameters = result["parameters"].Size();
  run.updates_per_second = result["updates_per_second"].Number();
  run.ms_per_update = result["ms_per_update"].Number();
  run.tokens_per_update = result["tokens_per_update"].Number();
  if (!(run.tokens_per_update > 0)) result["tokens_per_update"].Fail("a number above 0");
  // the bare name is for the Decision Transformer's three tokens per step
  const double steps = static_cast<double>(run.batch_size) * static_cast<double>(run.context);
  if (!run.cloning && run.tokens_per_update == 2 * steps) run.algorithm += ", 2 tokens";
  if (!run.cloning && run.tokens_per_update == steps) run.algorithm += ", 1 token";
  run.training_bytes = result["training_bytes"].NumberOrNan();
  run.rollout_bytes = result["rollout_bytes"].NumberOrNan();
  run.window_ms = result["ms_per_decision"]["window"].Number();
  const Field recurrent = result["ms_per_decision"]["recurrent"];
  if (!recurrent.null()) run.recurrent_ms = recurrent.Number();
  run.score = result["score"].Number();
  run.score_name = result["score_name"].Text();
  for (const Field& entry : result["targets"].List()) {
    TargetResult target;
    const Field asked = entry["target"];
    if (asked.Is(agents::kAutoTarget)) {
      if (run.targets.empty()) run.algorithm += ", auto";  // by which it is scored
    } else if (!asked.null()) {
      target.target = asked.Number();
    }
    target.mean = entry["mean"].Number();
    target.episodes = entry["returns"].List().size();
    run.targets.push_back(target);
  }
  ReadMetrics(folder + "/metrics.jsonl", run);
  return run;
}

std::vector<double> Group::Scores() const {
  std::vector<double> scores;
  for (const RunResult* run : runs) scores.push_back(run->score);
  return scores;
}

double Group::Mean(double RunResult::* value) const {
  std::vector<double> values;
  for (const RunResult* run : runs) values.push_back(run->*value);
  return experiments::Mean(values);
}

const Group* Report::Find(size_t task, size_t algorithm, int64_t context) const {
  for (const Group& group : groups) {
    if (group.task == task && group.algorithm == algorithm && group.context == context) {
      return &group;
    }
  }
  return nullptr;
}

Report ReadReport(const std::vector<std::string>& folders) {
  std::string names;
  for (const std::string& folder : folders) names += (names.empty() ? "" : ", ") + folder;
  FoundRuns found = FindRuns(folders);
  Report report;
  report.problems = std::move(found.problems);
  for (const std::string& folder : found.folders) {
    try {
      report.runs.push_back(ReadRun(folder));
    } catch (const FileError& e) {
      report.problems.push_back(e.what());
    }
  }
  NameDatasetsOnce(report.runs);
  if (report.runs.empty()) {
    std::string message = "none";
    if (!report.problems.empty()) message += " (" + report.problems[0] + ")";
    throw FileError(names, "", "at least one run with a result", message);
  }
  RequireComparable(report.runs);
  GroupRuns(report);
  return report;
}

}  // namespace cosdt::experiments
