#include "agents/rollout/doctor.h"

#include <memory>
#include <optional>
#include <stdexcept>
#include <utility>

#include "agents/policies/gaussian_policy.h"
#include "datasets/action_space.h"
#include "datasets/d4rl_file.h"
#include "datasets/episode_ends.h"
#include "datasets/file_error.h"
#include "datasets/minari_file.h"
#include "datasets/probe.h"
#include "datasets/sha256.h"
#include "datasets/summary.h"
#include "datasets/transitions.h"
#include "envs/registry.h"

namespace cosdt::agents {
namespace {

using datasets::D4rlFile;
using datasets::FileError;

std::string ErrorText(const FileError& error) {
  return "expected " + error.expected() + ", found " + error.found();
}

// A file of either layout, as it is checked.
struct CheckedFile {
  std::string path;
  bool minari = false, has_policy = false;
  datasets::RecordedEnv recorded;
  datasets::Transitions transitions;
  datasets::Cuts cuts;
  datasets::CheckOptions options;
};

CheckedFile ReadFile(const std::string& path, int threads) {
  CheckedFile file;
  file.path = path;
  file.minari = datasets::IsMinariFile(path);
  if (file.minari) {
    const datasets::MinariFile minari(path);
    file.recorded = datasets::ReadRecordedEnv(minari.hdf5());
    file.transitions = datasets::ReadTransitions(minari);
    file.cuts = {minari.offsets(), minari.ReadEndings()};
  } else {
    const D4rlFile d4rl(path, threads);
    file.recorded = datasets::ReadRecordedEnv(d4rl.hdf5());
    file.transitions = datasets::ReadTransitions(d4rl);
    file.has_policy = d4rl.Has("metadata/policy");
  }
  return file;
}

// None for tasks, and none if the file says that it was made in something else.
const datasets::Body* FindBody(const CheckedFile& file, const std::string& env) {
  const datasets::Transitions& t = file.transitions;
  if (!t.task.empty()) {
    if (env.empty()) return nullptr;
    throw FileError(file.path, D4rlFile::kTask, "none, for a body (--env) was named", t.task);
  }
  if (env.empty()) {
    if (!file.recorded.unlike.empty()) return nullptr;
    return datasets::BodyOf(file.recorded, file.path, t.observation_size, t.action_size,
                            t.observations[0]);
  }
  const datasets::Body* const body = datasets::FindBody(env);
  if (body->observation_size == t.observation_size && body->action_size == t.action_size) {
    return body;
  }
  throw FileError(file.path, "observations", "the sizes of " + env,
                  std::to_string(t.observation_size) + " observations and " +
                      std::to_string(t.action_size) + " actions");
}

envs::EnvSpec TaskSpec(const CheckedFile& file) {
  const std::string& task = file.transitions.task;
  try {
    return envs::MakeEnv(task)->spec();
  } catch (const std::invalid_argument&) {
    throw FileError(file.path, D4rlFile::kTask, "a task that cosdt knows", task);
  }
}

// Throws unless the file's actions are of the task's kind.
void ExpectActions(const envs::EnvSpec& task, const CheckedFile& file) {
  const auto text = [](int discrete_actions, int size) {
    return datasets::ActionSpaceText(
        {.size = size, .discrete = discrete_actions > 0, .n = discrete_actions});
  };
  const std::string expected = text(task.discrete_actions, task.action_size),
                    found = text(file.transitions.discrete_actions, file.transitions.action_size);
  if (found != expected)
    throw FileError(file.path, "actions", expected + " of " + task.name, found);
}

// Decides how the file is checked and where its episodes end.
void SetOptions(const std::string& env, CheckedFile& file) {
  datasets::CheckOptions& options = file.options;
  options.body = FindBody(file, env);
  if (!file.transitions.task.empty()) {
    const envs::EnvSpec task = TaskSpec(file);
    options.horizon = task.horizon;
    ExpectActions(task, file);
  } else if (!options.body && file.recorded.horizon) {
    options.horizon = *file.recorded.horizon;
  } else if (!options.body && file.minari) {
    options.horizon = file.transitions.rows();  // nothing says what is too long
  }
  // other environments' actions have other ranges
  options.unit_actions = options.body || (!file.minari && file.recorded.id.empty());
  if (!file.minari) {
    file.cuts = datasets::CutEpisodes(file.transitions.terminals, file.transitions.timeouts,
                                      options.horizon);
  }
}

// Sets the file's SHA-256. Returns a finding if it has the name of a file of D4RL's and is another
// one.
std::optional<datasets::Finding> HashFile(const std::string& path, std::string& sha256) {
  const datasets::KnownFile* const known = datasets::FindKnownPath(path);
  try {
    sha256 = known ? datasets::ExpectKnownFile(path, *known, known->sha256)
                   : datasets::Sha256OfFile(path);
    return std::nullopt;
  } catch (const FileError& error) {
    sha256 = datasets::Sha256OfFile(path);
    return datasets::Finding{"hash", "", std::nullopt, ErrorText(error)};
  }
}

// Notes on the file's kind for its readers.
void AddNotes(const CheckedFile& file, datasets::CheckReport& check) {
  const auto not_compared = [](const std::string& env) {
    return "made in " + env +
           ": its steps are not replayed, and motion and rewards are not checked against a body's";
  };
  if (file.minari) {
    check.notes.push_back({"minari", "", std::nullopt,
                           "a Minari file: it is not D4RL's data, and its scores do not compare"});
  }
  if (const std::string& task = file.transitions.task; !task.empty()) {
    check.notes.push_back({"task", D4rlFile::kTask, std::nullopt, not_compared(task)});
  } else if (!file.options.body && !file.recorded.id.empty()) {
    check.notes.push_back({"env", file.recorded.source, std::nullopt,
                           not_compared(datasets::RecordText(file.recorded))});
  }
}

// Compares the physics that the file names with the one that its steps show.
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
void Simulate(const CheckedFile& file, const DoctorOptions& options, Diagnosis& diagnosis) {
  const std::string body = file.options.body->name;
  diagnosis.physics = ResimulateTransitions(file.transitions, body);
  if (diagnosis.physics->transitions > 0) {
    CompareVerdict(file.recorded, diagnosis.physics->verdict, diagnosis.check);
  }
  if (!options.play_policy || !file.has_policy) return;
  for (const envs::Physics physics : envs::kAllPhysics) {
    if (options.before_rollout) options.before_rollout(physics);
    const std::unique_ptr<envs::Env> env = envs::MakeEnv(body, physics);
    const std::unique_ptr<Policy> policy =
        LoadGaussianPolicy(datasets::Hdf5File(file.path), env->spec(), false);
    diagnosis.policy_returns[physics] = Rollout(*env, *policy, options.rollout).returns;
  }
}

// Fills the diagnosis as far as the file can be read.
void Check(const std::string& path, const DoctorOptions& options, Diagnosis& diagnosis) {
  datasets::ProbeFile(path);
  const std::optional<datasets::Finding> other_file = HashFile(path, diagnosis.sha256);
  CheckedFile file = ReadFile(path, options.rollout.threads);
  SetOptions(options.env, file);
  diagnosis.check = datasets::CheckTransitions(path, file.transitions, file.cuts, file.options);
  if (other_file) diagnosis.check.findings.push_back(*other_file);
  diagnosis.returns = datasets::ReturnsOf(file.transitions.rewards, file.cuts);
  diagnosis.recorded = file.recorded;
  AddNotes(file, diagnosis.check);
  diagnosis.env = file.options.body ? file.options.body->name : file.transitions.task;
  if (file.options.body) Simulate(file, options, diagnosis);
}

}  // namespace

Diagnosis Diagnose(const std::string& path, const DoctorOptions& options) {
  options.rollout.Validate();
  if (!options.env.empty() && !datasets::FindBody(options.env)) {
    throw std::invalid_argument("env: expected hopper, halfcheetah or walker2d, found '" +
                                options.env + "'");
  }
  Diagnosis diagnosis;
  std::vector<datasets::Finding>& findings = diagnosis.check.findings;
  try {
    Check(path, options, diagnosis);
  } catch (const datasets::FlagError& error) {
    findings.push_back({"flags", error.array(), error.row(), ErrorText(error)});
  } catch (const FileError& error) {
    findings.push_back({"file", error.key(), std::nullopt, ErrorText(error)});
  }
  return diagnosis;
}

}  // namespace cosdt::agents
