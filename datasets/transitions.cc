#include "datasets/transitions.h"

#include "datasets/episode_ends.h"
#include "datasets/episodes.h"
#include "datasets/recorded_env.h"

namespace cosdt::datasets {
namespace {

template <typename Vector>
void ReadIfThere(const D4rlFile& file, const std::string& key, Vector& out) {
  if (!file.Has(key)) return;
  out.resize(file.rows() * file.Width(key));
  file.Read(key, std::span(out));
}

}  // namespace

void Append(Transitions& to, const Transitions& from) {
  if (to.rows() == 0) {
    to = from;
    return;
  }
  const auto append = [](auto& a, const auto& b) { a.insert(a.end(), b.begin(), b.end()); };
  append(to.observations, from.observations);
  append(to.actions, from.actions);
  append(to.rewards, from.rewards);
  append(to.next_observations, from.next_observations);
  append(to.log_probs, from.log_probs);
  append(to.qpos, from.qpos);
  append(to.qvel, from.qvel);
  append(to.terminals, from.terminals);
  append(to.timeouts, from.timeouts);
}

void Resize(Transitions& transitions, size_t rows) {
  const size_t before = transitions.rows();
  const auto cut = [&](auto& array) {
    array.resize(before == 0 ? 0 : array.size() / before * rows);
  };
  // rewards last: they say how many rows there are
  cut(transitions.observations);
  cut(transitions.actions);
  cut(transitions.next_observations);
  cut(transitions.log_probs);
  cut(transitions.qpos);
  cut(transitions.qvel);
  cut(transitions.terminals);
  cut(transitions.timeouts);
  cut(transitions.rewards);
}

Transitions ReadTransitions(const D4rlFile& file) {
  Transitions transitions;
  transitions.task = file.ReadTask();
  const RecordedEnv recorded = ReadRecordedEnv(file.hdf5());
  transitions.physics = recorded.physics;
  transitions.mujoco_version = recorded.mujoco_version;
  transitions.observation_size = file.observation_size();
  transitions.action_size = file.action_size();
  if (file.Has("infos/qpos")) transitions.nq = static_cast<int>(file.Width("infos/qpos"));
  if (file.Has("infos/qvel")) transitions.nv = static_cast<int>(file.Width("infos/qvel"));
  ReadIfThere(file, "observations", transitions.observations);
  ReadIfThere(file, "actions", transitions.actions);
  transitions.discrete_actions = CountDiscreteActions(file.action_space(), transitions.actions);
  ReadIfThere(file, "rewards", transitions.rewards);
  ReadIfThere(file, "next_observations", transitions.next_observations);
  ReadIfThere(file, "infos/action_log_probs", transitions.log_probs);
  ReadIfThere(file, "infos/qpos", transitions.qpos);
  ReadIfThere(file, "infos/qvel", transitions.qvel);
  EpisodeEnds ends = ReadEpisodeEnds(file);
  transitions.terminals = std::move(ends.terminals);
  transitions.timeouts = std::move(ends.timeouts);
  return transitions;
}

Transitions ReadTransitions(const MinariFile& file) {
  Transitions transitions;
  transitions.observation_size = file.observation_size();
  transitions.action_size = file.action_size();
  const size_t rows = file.offsets().back();
  const auto read = [&](const char* key, FloatVector& to, size_t width) {
    to.resize(rows * width);
    file.Read(key, to);
  };
  read("observations", transitions.observations, file.observation_size());
  read("actions", transitions.actions, file.action_size());
  transitions.discrete_actions = CountDiscreteActions(file.action_space(), transitions.actions);
  read("rewards", transitions.rewards, 1);
  read("next_observations", transitions.next_observations, file.observation_size());
  transitions.terminals.resize(rows);
  transitions.timeouts.resize(rows);
  const std::vector<Ending> endings = file.ReadEndings();
  for (size_t i = 0; i < endings.size(); ++i) {
    const size_t last = file.offsets()[i + 1] - 1;
    transitions.terminals[last] = endings[i] == Ending::kTerminal;
    transitions.timeouts[last] = endings[i] == Ending::kTimeout;
  }
  return transitions;
}

void WriteOrigin(const std::string& task, const std::string& physics,
                 const std::string& mujoco_version, Hdf5Writer& writer) {
  if (!task.empty()) writer.Text(D4rlFile::kTask, task);
  if (!physics.empty()) writer.Text(kPhysicsKey, physics);
  if (!mujoco_version.empty()) writer.Text(kMujocoVersionKey, mujoco_version);
}

void WriteDiscreteActions(std::span<const float> actions, int n, Hdf5Writer& writer) {
  writer.Integers("actions", actions);
  writer.Text(kActionSpaceKey, "Discrete(" + std::to_string(n) + ")");
}

void WriteTransitions(const Transitions& transitions, Hdf5Writer& writer) {
  const uint64_t rows = transitions.rows();
  const auto write = [&](const char* key, const auto& values, int width) {
    if (values.empty()) return;
    const std::vector<uint64_t> flat{rows}, matrix{rows, static_cast<uint64_t>(width)};
    writer.Array(key, width == 0 ? flat : matrix, std::span(values));
  };
  write("observations", transitions.observations, transitions.observation_size);
  if (transitions.discrete_actions > 0) {
    WriteDiscreteActions(transitions.actions, transitions.discrete_actions, writer);
  } else {
    write("actions", transitions.actions, transitions.action_size);
  }
  write("rewards", transitions.rewards, 0);
  write("next_observations", transitions.next_observations, transitions.observation_size);
  write("infos/action_log_probs", transitions.log_probs, 0);
  write("infos/qpos", transitions.qpos, transitions.nq);
  write("infos/qvel", transitions.qvel, transitions.nv);
  writer.Flags("terminals", transitions.terminals);
  writer.Flags("timeouts", transitions.timeouts);
  WriteOrigin(transitions.task, transitions.physics, transitions.mujoco_version, writer);
}

}  // namespace cosdt::datasets
