#include "datasets/concat.h"

#include <algorithm>
#include <cstdint>
#include <memory>
#include <span>
#include <type_traits>

#include "datasets/d4rl_file.h"
#include "datasets/episode_ends.h"
#include "datasets/episodes.h"
#include "datasets/hdf5_writer.h"
#include "datasets/recorded_env.h"
#include "datasets/transitions.h"
#include "datasets/unset_vector.h"

namespace cosdt::datasets {
namespace {

using Files = std::vector<std::unique_ptr<D4rlFile>>;

void ExpectTask(const D4rlFile& file, const std::string& expected) {
  const std::string found = file.ReadTask();
  if (found == expected) return;
  const auto text = [](const std::string& task) { return task.empty() ? "none" : task; };
  throw FileError(file.path(), D4rlFile::kTask, text(expected), text(found));
}

// Widths of continuous actions are ConcatArray's to compare.
void ExpectActionSpace(const D4rlFile& file, const D4rlFile& first) {
  const bool continuous = !file.action_space().discrete && !first.action_space().discrete;
  if (continuous || file.action_space().SameKind(first.action_space())) return;
  throw FileError(file.path(), "actions",
                  ActionSpaceText(first.action_space()) + " as in " + first.path(),
                  ActionSpaceText(file.action_space()));
}

// d4rl if the file does not say. Throws if its environment is none of the physics modes.
std::string PhysicsOf(const D4rlFile& file, const RecordedEnv& recorded) {
  if (!recorded.unlike.empty()) {
    throw FileError(file.path(), recorded.source, "an environment of one of cosdt's physics modes",
                    recorded.id + " (" + recorded.unlike + ")");
  }
  return recorded.physics.empty() ? "d4rl" : recorded.physics;
}

// The physics and simulator that all files name; "" if one does not say it.
RecordedEnv CommonRecord(const Files& files) {
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

// The rows of complete episodes, which are each file's first ones.
struct Kept {
  std::vector<size_t> rows;                  // of each file
  std::vector<uint8_t> terminals, timeouts;  // [all rows]
};

void KeepComplete(const D4rlFile& file, size_t horizon, Kept& kept) {
  const EpisodeEnds ends = ReadEpisodeEnds(file);
  const Cuts cuts = CutEpisodes(ends.terminals, ends.timeouts, horizon);
  const bool partial = !cuts.endings.empty() && cuts.endings.back() == Ending::kPartial;
  const size_t rows = cuts.offsets[cuts.offsets.size() - (partial ? 2 : 1)];
  const size_t begin = kept.terminals.size();
  kept.rows.push_back(rows);
  kept.terminals.insert(kept.terminals.end(), ends.terminals.begin(),
                        ends.terminals.begin() + static_cast<ptrdiff_t>(rows));
  kept.timeouts.resize(begin + rows);
  for (size_t i = 0; i < cuts.endings.size(); ++i) {
    if (cuts.endings[i] != Ending::kTimeout) continue;
    kept.timeouts[begin + cuts.offsets[i + 1] - 1] = 1;
  }
}

// Writes the array `key` if all files have it.
template <typename T>
void ConcatArray(const Files& files, const Kept& kept, const std::string& key, Hdf5Writer& writer) {
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
    values.resize(begin + kept.rows[i] * width);
  }
  if constexpr (std::is_same_v<T, float>) {
    const ActionSpace& space = files[0]->action_space();
    if (key == "actions" && space.discrete) {
      WriteDiscreteActions(values, CountDiscreteActions(space, values), writer);
      return;
    }
  }
  const std::vector<uint64_t> flat{kept.terminals.size()}, matrix{kept.terminals.size(), width};
  const bool by_step = key == "rewards" || key == "infos/action_log_probs";
  writer.Array(key, by_step ? flat : matrix, std::span<const T>(values));
}

}  // namespace

void ConcatFiles(const std::vector<std::string>& paths, const std::string& out, int threads,
                 size_t horizon) {
  Files files;
  Kept kept;
  for (const std::string& path : paths) {
    files.push_back(std::make_unique<D4rlFile>(path, threads));
    ExpectTask(*files.back(), files[0]->ReadTask());
    ExpectActionSpace(*files.back(), *files[0]);
    KeepComplete(*files.back(), horizon, kept);
  }
  if (kept.terminals.empty()) {
    throw FileError(paths.empty() ? out : paths[0], "terminals", "at least one complete episode",
                    "none");
  }
  const RecordedEnv recorded = CommonRecord(files);

  Hdf5Writer writer(out);
  for (const char* key :
       {"observations", "actions", "rewards", "next_observations", "infos/action_log_probs"}) {
    ConcatArray<float>(files, kept, key, writer);
  }
  for (const char* key : {"infos/qpos", "infos/qvel"}) {
    ConcatArray<double>(files, kept, key, writer);
  }
  writer.Flags("terminals", kept.terminals);
  writer.Flags("timeouts", kept.timeouts);
  WriteOrigin(files[0]->ReadTask(), recorded.physics, recorded.mujoco_version, writer);
  writer.Commit();
}

}  // namespace cosdt::datasets
