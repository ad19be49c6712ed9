#include "datasets/transitions.h"

#include <algorithm>
#include <memory>

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

void ExpectTask(const D4rlFile& file, const std::string& expected) {
  const std::string found = file.ReadTask();
  if (found == expected) return;
  const auto text = [](const std::string& task) { return task.empty() ? "none" : task; };
  throw FileError(file.path(), D4rlFile::kTask, text(expected), text(found));
}

void WriteTextIfAny(Hdf5Writer& writer, const char* key, const std::string& text) {
  if (!text.empty()) writer.Text(key, text);
}

// d4rl where the file does not say. Throws where its environment is none of the physics modes.
std::string PhysicsOf(const D4rlFile& file, const RecordedEnv& recorded) {
  if (!recorded.unlike.empty()) {
    throw FileError(file.path(), recorded.source, "an environment of one of cosdt's physics modes",
                    recorded.id + " (" + recorded.unlike + ")");
  }
  return recorded.physics.empty() ? "d4rl" : recorded.physics;
}

// What all files say of physics and simulator; "" where one does not say it.
RecordedEnv CommonRecord(const std::vector<std::unique_ptr<D4rlFile>>& files) {
  RecordedEnv common = ReadRecordedEnv(files[0]->hdf5());
  const std::string physics = PhysicsOf(*files[0], common);
  for (const auto& file : files) {
    const RecordedEnv found = ReadRecordedEnv(file->hdf5());
    if (PhysicsOf(*file, found) != physics) {
      throw FileError(file->path(), "physics", physics + ", as in " + files[0]->path(),
                      found.physics.empty() ? "none, which stands for d4rl" : found.physics);
    }
    if (found.body != common.body || (!found.body && found.id != common.id)) {
      throw FileError(file->path(), kEnvSpecKey,
                      common.id.empty() ? "none" : common.id + ", as in " + files[0]->path(),
                      found.id.empty() ? "none" : found.id);
    }
    if (found.physics.empty()) common.physics.clear();
    if (found.mujoco_version != common.mujoco_version) common.mujoco_version.clear();
  }
  return common;
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

void WriteTransitions(const Transitions& transitions, Hdf5Writer& writer) {
  const uint64_t rows = transitions.rows();
  const auto write = [&](const char* key, const auto& values, int width) {
    if (values.empty()) return;
    const std::vector<uint64_t> flat{rows}, matrix{rows, static_cast<uint64_t>(width)};
    writer.Array(key, width == 0 ? flat : matrix, std::span(values));
  };
  write("observations", transitions.observations, transitions.observation_size);
  write("actions", transitions.actions, transitions.action_size);
  write("rewards", transitions.rewards, 0);
  write("next_observations", transitions.next_observations, transitions.observation_size);
  write("infos/action_log_probs", transitions.log_probs, 0);
  write("infos/qpos", transitions.qpos, transitions.nq);
  write("infos/qvel", transitions.qvel, transitions.nv);
  writer.Flags("terminals", transitions.terminals);
  writer.Flags("timeouts", transitions.timeouts);
  WriteTextIfAny(writer, D4rlFile::kTask, transitions.task);
  WriteTextIfAny(writer, kPhysicsKey, transitions.physics);
  WriteTextIfAny(writer, kMujocoVersionKey, transitions.mujoco_version);
}

void ConcatFiles(const std::vector<std::string>& paths, const std::string& out, int threads,
                 size_t horizon) {
  std::vector<std::unique_ptr<D4rlFile>> files;
  std::vector<size_t> kept;  // rows of each file
  std::vector<uint8_t> terminals, timeouts;
  for (const std::string& path : paths) {
    files.push_back(std::make_unique<D4rlFile>(path, threads));
    const D4rlFile& file = *files.back();
    ExpectTask(file, files[0]->ReadTask());
    const EpisodeEnds ends = ReadEpisodeEnds(file);
    const Cuts cuts = CutEpisodes(ends.terminals, ends.timeouts, horizon);
    const bool partial = !cuts.endings.empty() && cuts.endings.back() == Ending::kPartial;
    kept.push_back(cuts.offsets[cuts.offsets.size() - (partial ? 2 : 1)]);
    const size_t begin = terminals.size();
    terminals.insert(terminals.end(), ends.terminals.begin(), ends.terminals.begin() + kept.back());
    timeouts.resize(terminals.size());
    for (size_t i = 0; i < cuts.endings.size(); ++i) {
      if (cuts.endings[i] != Ending::kTimeout) continue;
      timeouts[begin + cuts.offsets[i + 1] - 1] = 1;
    }
  }
  if (terminals.empty()) {
    throw FileError(paths.empty() ? out : paths[0], "terminals", "at least one complete episode",
                    "none");
  }

  const RecordedEnv recorded = CommonRecord(files);

  Hdf5Writer writer(out);
  const auto concat = [&]<typename T>(const std::string& key, T) {
    const auto has = [&](const auto& file) { return file->Has(key); };
    if (!std::ranges::all_of(files, has)) return;
    const uint64_t width = files[0]->Width(key);
    UnsetVector<T> values;
    for (size_t i = 0; i < files.size(); ++i) {
      if (files[i]->Width(key) != width) {
        throw FileError(files[i]->path(), key,
                        std::to_string(width) + " columns as in " + files[0]->path(),
                        std::to_string(files[i]->Width(key)));
      }
      const size_t begin = values.size();
      values.resize(begin + files[i]->rows() * width);
      files[i]->Read(key, std::span(values).subspan(begin));
      values.resize(begin + kept[i] * width);
    }
    const std::vector<uint64_t> flat{terminals.size()}, matrix{terminals.size(), width};
    const bool by_step = key == "rewards" || key == "infos/action_log_probs";
    writer.Array(key, by_step ? flat : matrix, std::span<const T>(values));
  };
  for (const char* key :
       {"observations", "actions", "rewards", "next_observations", "infos/action_log_probs"}) {
    concat(key, float());
  }
  for (const char* key : {"infos/qpos", "infos/qvel"}) concat(key, double());
  writer.Flags("terminals", terminals);
  writer.Flags("timeouts", timeouts);
  WriteTextIfAny(writer, D4rlFile::kTask, files[0]->ReadTask());
  WriteTextIfAny(writer, kPhysicsKey, recorded.physics);
  WriteTextIfAny(writer, kMujocoVersionKey, recorded.mujoco_version);
  writer.Commit();
}

}  // namespace cosdt::datasets
