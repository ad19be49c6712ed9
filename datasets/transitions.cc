#include "datasets/transitions.h"

#include <algorithm>
#include <memory>

#include "datasets/episodes.h"

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
  ReadIfThere(file, "terminals", transitions.terminals);
  ReadIfThere(file, "timeouts", transitions.timeouts);
  return transitions;
}

void WriteTransitions(const Transitions& transitions, D4rlWriter& writer) {
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
  if (!transitions.task.empty()) writer.Text(D4rlFile::kTask, transitions.task);
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
    std::vector<uint8_t> terminal(file.rows()), timeout;
    file.Read<uint8_t>("terminals", terminal);
    ReadIfThere(file, "timeouts", timeout);
    const Cuts cuts = CutEpisodes(terminal, timeout, horizon);
    const bool partial = !cuts.endings.empty() && cuts.endings.back() == Ending::kPartial;
    kept.push_back(cuts.offsets[cuts.offsets.size() - (partial ? 2 : 1)]);
    const size_t begin = terminals.size();
    terminals.insert(terminals.end(), terminal.begin(), terminal.begin() + kept.back());
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

  D4rlWriter writer(out);
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
  if (const std::string task = files[0]->ReadTask(); !task.empty()) {
    writer.Text(D4rlFile::kTask, task);
  }
  writer.Commit();
}

}  // namespace cosdt::datasets
