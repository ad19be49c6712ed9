#include "agents/behaviour/demo_datasets.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <stdexcept>
#include <utility>

#include "agents/policies/demo_policies.h"
#include "agents/policies/embedded_files.h"
#include "agents/policies/policy.h"
#include "agents/rollout/collect.h"
#include "datasets/hdf5_writer.h"
#include "datasets/policy_file.h"
#include "envs/registry.h"

namespace cosdt::agents {
namespace {

constexpr int64_t kPartTransitions = 100'000;
constexpr uint64_t kSeed = 0;

struct Demo {
  std::string env;
  std::vector<std::string> parts;  // "random", "scripted", or a policy file's name
  int64_t transitions;             // if not told otherwise
  double epsilon = 0;              // share of random actions in the script's
};

// The snapshots up to the medium policy, at equal distances of the training.
std::vector<std::string> ReplayParts(const std::string& env) {
  std::vector<std::pair<int64_t, std::string>> snapshots;
  for (const EmbeddedFile& file : EmbeddedFiles()) {
    const std::string name = file.name;
    if (!name.starts_with(env + "-")) continue;
    const std::string steps = name.substr(env.size() + 1);
    if (std::ranges::all_of(steps, [](char c) { return c >= '0' && c <= '9'; })) {
      snapshots.emplace_back(std::stoll(steps), name);
    }
  }
  std::ranges::sort(snapshots);
  std::vector<std::string> parts = {"random"};
  for (const auto& [steps, name] : snapshots) parts.push_back(name);
  parts.push_back(env + "-medium");
  return parts;
}

constexpr const char* kBodies[] = {"hopper", "halfcheetah",
                                   "walker2d"};  // that there are policies for
constexpr const char* kKinds[] = {"random", "medium", "medium-replay", "medium-expert", "expert"};
constexpr const char* kExamples[] = {"hopper-position-medium",
                                     "hopper-velocity-medium",
                                     "hopper-dropped-50-medium",
                                     "hopper-delayed-medium-expert",
                                     "tmaze-100",
                                     "rate-tmaze-max-150",
                                     "memory-rl-tmaze-50",
                                     "popgym-repeat-previous-easy"};
constexpr int64_t kScriptedEpisodes = 500;
constexpr double kGameEpsilon = 0.2;  // so that returns differ; a T-maze's data are of winners

// What a dataset of that kind is made of, in `env`, a body or a task made of `body`.
Demo OfKind(const std::string& env, const std::string& body, const std::string& kind) {
  const std::string medium = body + "-medium", expert = body + "-expert";
  if (kind == "random") return {env, {"random"}, kPartTransitions};
  if (kind == "medium-replay") return {env, ReplayParts(body), kPartTransitions};
  if (kind == "medium-expert") return {env, {expert, medium}, 2 * kPartTransitions};
  return {env, {body + "-" + kind}, kPartTransitions};
}

// The environment's name taken apart, or nothing if it is none.
std::optional<envs::EnvName> TryParse(const std::string& env) {
  try {
    return envs::ParseEnvName(env);
  } catch (const std::invalid_argument&) {
    return std::nullopt;
  }
}

// "demo/ENV-KIND" or "demo/ENV" of a task without a body taken apart, or nothing.
std::optional<Demo> FindDemo(const std::string& name) {
  constexpr std::string_view kPrefix = "demo/";
  if (!name.starts_with(kPrefix)) return std::nullopt;
  const std::string rest = name.substr(kPrefix.size());
  if (const auto env = TryParse(rest); env && env->body.empty()) {
    const envs::EnvSpec spec = envs::MakeEnv(rest)->spec();
    const double epsilon = spec.success_return ? 0 : kGameEpsilon;
    return Demo{rest, {"scripted"}, kScriptedEpisodes * spec.horizon, epsilon};
  }
  for (const std::string kind : kKinds) {
    if (!rest.ends_with("-" + kind)) continue;
    const std::string env = rest.substr(0, rest.size() - kind.size() - 1);
    const auto parts = TryParse(env);
    if (!parts || !std::ranges::count(kBodies, parts->body)) continue;
    return OfKind(env, parts->body, kind);
  }
  return std::nullopt;
}

[[noreturn]] void ThrowUnknown(const std::string& found) {
  std::string list;
  for (const std::string& name : DemoDatasets()) list += (list.empty() ? "" : ", ") + name;
  throw std::invalid_argument("dataset: expected one of " + list + ", found '" + found + "'");
}

// Transitions up to the end of the last complete episode.
size_t CompleteRows(const datasets::Transitions& t) {
  size_t rows = t.rows();
  while (rows > 0 && !t.terminals[rows - 1] && !t.timeouts[rows - 1]) --rows;
  return rows;
}

}  // namespace

std::vector<std::string> DemoDatasets() {
  std::vector<std::string> names;
  for (const std::string body : kBodies) {
    for (const std::string kind : kKinds) names.push_back("demo/" + body + "-" + kind);
  }
  for (const char* const example : kExamples) names.push_back(std::string("demo/") + example);
  return names;
}

bool IsDemoDataset(const std::string& name) { return FindDemo(name).has_value(); }

void MakeDemoDataset(const std::string& name, const std::string& path, const DemoOptions& options) {
  const std::optional<Demo> demo = FindDemo(name);
  if (!demo) ThrowUnknown(name);
  const auto parts = static_cast<int64_t>(demo->parts.size());
  const int64_t total = options.transitions == 0 ? demo->transitions : options.transitions;
  if (total < parts) {
    throw std::invalid_argument("transitions: expected at least " + std::to_string(parts) +
                                ", found " + std::to_string(total));
  }
  datasets::Hdf5Writer writer(path);  // before the work: the path may not be writable
  const std::unique_ptr<envs::Env> env = envs::MakeEnv(demo->env);
  datasets::Transitions all;
  for (int64_t part = 0; part < parts; ++part) {
    const std::string& source = demo->parts[part];
    std::vector<WeightedPolicy> policies;
    const std::string policy = IsPolicyFile(source) ? "demo/" + source : source;
    policies.push_back({MakePolicy(policy, env->fully_observed().spec(), false, demo->epsilon)});
    const int64_t begin = total * part / parts;
    CollectOptions collect;
    collect.transitions = total * (part + 1) / parts - begin;
    collect.seed = envs::StreamSeed(kSeed, part);
    collect.threads = options.threads;
    collect.progress = [&](int64_t done) {
      if (options.progress) options.progress(begin + done, total);
    };
    datasets::Transitions steps = Collect(*env, policies, collect);
    if (part + 1 < parts) datasets::Resize(steps, CompleteRows(steps));
    datasets::Append(all, steps);
  }
  datasets::WriteTransitions(all, writer);
  if (parts == 1 && IsPolicyFile(demo->parts[0])) {
    datasets::CopyPolicy(*OpenDemoPolicy("demo/" + demo->parts[0]), writer);
  }
  writer.Commit();
}

}  // namespace cosdt::agents
