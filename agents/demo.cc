#include "agents/demo.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <utility>

#include "agents/collect.h"
#include "agents/embedded_files.h"
#include "agents/policy.h"
#include "datasets/d4rl_writer.h"
#include "datasets/policy_file.h"
#include "envs/registry.h"

namespace cosdt::agents {
namespace {

constexpr int64_t kPartTransitions = 100'000;
constexpr uint64_t kSeed = 0;

struct Demo {
  std::string name;
  std::string env;
  std::vector<std::string> parts;  // "random", or a policy file's name without its ending
  int64_t transitions;             // where not told otherwise
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

const std::vector<Demo>& Demos() {
  static const std::vector<Demo> demos = [] {
    std::vector<Demo> list;
    for (const std::string env : {"hopper", "halfcheetah"}) {
      const std::string medium = env + "-medium", expert = env + "-expert";
      const std::string prefix = "demo/" + env;
      list.push_back({prefix + "-random", env, {"random"}, kPartTransitions});
      list.push_back({prefix + "-medium", env, {medium}, kPartTransitions});
      list.push_back({prefix + "-medium-replay", env, ReplayParts(env), kPartTransitions});
      list.push_back({prefix + "-medium-expert", env, {expert, medium}, 2 * kPartTransitions});
      list.push_back({prefix + "-expert", env, {expert}, kPartTransitions});
    }
    return list;
  }();
  return demos;
}

[[noreturn]] void ThrowUnknown(const char* what, const std::vector<std::string>& names,
                               const std::string& found) {
  std::string list;
  for (const std::string& name : names) list += (list.empty() ? "" : ", ") + name;
  throw std::invalid_argument(std::string(what) + ": expected one of " + list + ", found '" +
                              found + "'");
}

const EmbeddedFile* FindPolicy(const std::string& name) {
  const auto files = EmbeddedFiles();
  const auto file = std::ranges::find(
      files, name, [](const EmbeddedFile& f) { return "demo/" + std::string(f.name); });
  return file == files.end() ? nullptr : &*file;
}

// Temporary files, because HDF5 reads files; removed when the program ends.
class UnpackedFiles {
 public:
  ~UnpackedFiles() {
    for (const auto& [name, path] : paths_) unlink(path.c_str());
  }

  std::string Path(const EmbeddedFile& file) {
    const std::lock_guard lock(mutex_);
    std::string& path = paths_[file.name];
    if (!path.empty()) return path;
    std::string unpacked = std::filesystem::temp_directory_path() / "cosdt_policy_XXXXXX";
    const int descriptor = mkstemp(unpacked.data());
    const auto size = static_cast<ssize_t>(file.bytes.size());
    const bool written = descriptor >= 0 && write(descriptor, file.bytes.data(), size) == size;
    const int error = errno;
    if (descriptor >= 0) close(descriptor);
    if (!written) {
      unlink(unpacked.c_str());
      throw std::runtime_error(unpacked + ": cannot be written: " + std::strerror(error));
    }
    return path = unpacked;
  }

 private:
  std::mutex mutex_;
  std::map<std::string, std::string> paths_;
};

// Transitions up to the end of the last complete episode.
size_t CompleteRows(const datasets::Transitions& t) {
  size_t rows = t.rows();
  while (rows > 0 && !t.terminals[rows - 1] && !t.timeouts[rows - 1]) --rows;
  return rows;
}

}  // namespace

std::vector<std::string> DemoDatasets() {
  std::vector<std::string> names;
  for (const Demo& demo : Demos()) names.push_back(demo.name);
  return names;
}

bool IsDemoDataset(const std::string& name) {
  return std::ranges::any_of(Demos(), [&](const Demo& demo) { return demo.name == name; });
}

std::vector<std::string> DemoPolicies() {
  std::vector<std::string> names;
  for (const EmbeddedFile& file : EmbeddedFiles()) {
    names.push_back("demo/" + std::string(file.name));
  }
  return names;
}

std::string DemoPolicyPath(const std::string& name) {
  const EmbeddedFile* const policy = FindPolicy(name);
  if (!policy) ThrowUnknown("policy", DemoPolicies(), name);
  static UnpackedFiles files;
  return files.Path(*policy);
}

void MakeDemoDataset(const std::string& name, const std::string& path, const DemoOptions& options) {
  const auto demo = std::ranges::find(Demos(), name, &Demo::name);
  if (demo == Demos().end()) ThrowUnknown("dataset", DemoDatasets(), name);
  const auto parts = static_cast<int64_t>(demo->parts.size());
  const int64_t total = options.transitions == 0 ? demo->transitions : options.transitions;
  if (total < parts) {
    throw std::invalid_argument("transitions: expected at least " + std::to_string(parts) +
                                ", found " + std::to_string(total));
  }
  datasets::D4rlWriter writer(path);  // before the work: the path may not be writable
  const std::unique_ptr<envs::Env> env = envs::MakeEnv(demo->env);
  datasets::Transitions all;
  for (int64_t part = 0; part < parts; ++part) {
    const std::string& source = demo->parts[part];
    std::vector<WeightedPolicy> policies;
    const std::string policy = source == "random" ? source : "demo/" + source;
    policies.push_back({MakePolicy(policy, env->spec(), false)});
    const int64_t begin = total * part / parts;
    CollectOptions collect;
    collect.transitions = total * (part + 1) / parts - begin;
    collect.seed = envs::StreamSeed(kSeed, part);
    collect.threads = options.threads;
    collect.progress = [&](int64_t done) {
      if (options.progress) options.progress(begin + done, total);
    };
    datasets::Transitions steps =
        Collect(dynamic_cast<const envs::MujocoEnv&>(*env), policies, collect);
    if (part + 1 < parts) datasets::Resize(steps, CompleteRows(steps));
    datasets::Append(all, steps);
  }
  datasets::WriteTransitions(all, writer);
  if (parts == 1 && demo->parts[0] != "random") {
    const std::string policy = DemoPolicyPath("demo/" + demo->parts[0]);
    const datasets::PolicyOrigin origin = datasets::ReadPolicyOrigin(policy);
    writer.Text("metadata/algorithm", origin.algorithm);
    writer.Integer("metadata/iteration", origin.iteration);
    datasets::WritePolicy(datasets::ReadPolicy(policy), writer);
  }
  writer.Commit();
}

}  // namespace cosdt::agents
