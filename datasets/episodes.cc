#include "datasets/episodes.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <thread>

#include "datasets/action_space.h"
#include "datasets/body.h"
#include "datasets/d4rl_file.h"
#include "datasets/episode_ends.h"
#include "datasets/minari_file.h"
#include "datasets/recorded_env.h"

namespace cosdt::datasets {
namespace {

int Threads(const ReadOptions& options) {
  if (options.threads > 0) return options.threads;
  return static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
}

// A D4RL or a Minari file as rows to be read to a place in the arrays.
class Source {
 public:
  virtual ~Source() = default;
  virtual const Hdf5File& hdf5() const = 0;
  virtual uint64_t rows() const = 0;
  virtual int observation_size() const = 0;
  virtual const ActionSpace& action_space() const = 0;
  virtual std::string ReadTask() const { return ""; }
  virtual void Read(const std::string& key, std::span<float> out) const = 0;
  virtual Cuts ReadCuts(size_t horizon) const = 0;
};

class D4rlSource : public Source {
 public:
  D4rlSource(const std::string& path, int threads) : file_(path, threads) {}
  const Hdf5File& hdf5() const override { return file_.hdf5(); }
  uint64_t rows() const override { return file_.rows(); }
  int observation_size() const override { return file_.observation_size(); }
  const ActionSpace& action_space() const override { return file_.action_space(); }
  std::string ReadTask() const override { return file_.ReadTask(); }
  void Read(const std::string& key, std::span<float> out) const override { file_.Read(key, out); }
  Cuts ReadCuts(size_t horizon) const override {
    const EpisodeEnds ends = ReadEpisodeEnds(file_);
    return CutEpisodes(ends.terminals, ends.timeouts, horizon);
  }

 private:
  D4rlFile file_;
};

class MinariSource : public Source {
 public:
  explicit MinariSource(const std::string& path) : file_(path) {}
  const Hdf5File& hdf5() const override { return file_.hdf5(); }
  uint64_t rows() const override { return file_.offsets().back(); }
  int observation_size() const override { return file_.observation_size(); }
  const ActionSpace& action_space() const override { return file_.action_space(); }
  void Read(const std::string& key, std::span<float> out) const override { file_.Read(key, out); }
  Cuts ReadCuts(size_t) const override { return {file_.offsets(), file_.ReadEndings()}; }

 private:
  MinariFile file_;
};

std::unique_ptr<Source> Open(const std::string& path, int threads) {
  if (IsMinariFile(path)) return std::make_unique<MinariSource>(path);
  return std::make_unique<D4rlSource>(path, threads);
}

std::string Sizes(int observation_size, int action_size) {
  return std::to_string(observation_size) + " observations and " + std::to_string(action_size) +
         " actions";
}

std::string TaskText(const std::string& task) { return task.empty() ? "none" : task; }

// Gives all arrays room for `rows` rows.
void Resize(Episodes& episodes, size_t rows, bool next_observations) {
  episodes.observations.resize(rows * episodes.observation_size);
  episodes.actions.resize(rows * episodes.action_size);
  episodes.rewards.resize(rows);
  if (next_observations) episodes.next_observations.resize(rows * episodes.observation_size);
}

// Every episode's sum of rewards, from its last row to its first; `visit(row, sum)` is given the
// sum as far as it came.
template <typename Visit>
std::vector<double> SumBack(std::span<const float> rewards, std::span<const size_t> offsets,
                            const Visit& visit) {
  std::vector<double> sums;
  for (size_t i = 0; i + 1 < offsets.size(); ++i) {
    double sum = 0;
    for (size_t row = offsets[i + 1]; row-- > offsets[i];) {
      sum += rewards[row];
      visit(row, sum);
    }
    sums.push_back(sum);
  }
  return sums;
}

using Sources = std::vector<std::unique_ptr<Source>>;

// Opens files that fit each other.
Sources OpenAll(const std::vector<std::string>& paths, int threads) {
  Sources sources;
  for (const std::string& path : paths) {
    sources.push_back(Open(path, threads));
    const Source &source = *sources.back(), &first = *sources.front();
    if (source.observation_size() != first.observation_size() ||
        source.action_space().size != first.action_space().size) {
      throw FileError(
          path, "",
          Sizes(first.observation_size(), first.action_space().size) + " as in " + paths.front(),
          Sizes(source.observation_size(), source.action_space().size));
    }
    if (!source.action_space().SameKind(first.action_space())) {
      throw FileError(path, "actions",
                      ActionSpaceText(first.action_space()) + " as in " + paths.front(),
                      ActionSpaceText(source.action_space()));
    }
    if (source.ReadTask() != first.ReadTask()) {
      throw FileError(path, D4rlFile::kTask, TaskText(first.ReadTask()) + " as in " + paths[0],
                      TaskText(source.ReadTask()));
    }
  }
  return sources;
}

// Throws if the caller names another environment than files made in `task` ("" is a body) can have.
void ExpectEnv(const std::string& path, const std::string& task, const std::string& env) {
  if (env.empty() || env == task) return;
  if (!task.empty()) throw FileError(path, D4rlFile::kTask, env, task);
  if (!FindBody(env)) {
    throw std::invalid_argument(
        "env: expected hopper, halfcheetah or walker2d, for the data names no task, found '" + env +
        "'");
  }
}

// Adds the episodes of a file, for whose rows there is room.
void ReadSource(const Source& source, const ReadOptions& options, Episodes& episodes) {
  const size_t begin = episodes.offsets.back();
  const size_t count = source.rows();
  const Cuts cuts = source.ReadCuts(options.horizon);  // before what takes longer
  // rows of the next file overwrite what is dropped of this one
  const auto read = [&](const char* key, FloatVector& to, size_t width) {
    source.Read(key, std::span(to).subspan(begin * width, count * width));
  };
  read("observations", episodes.observations, episodes.observation_size);
  read("actions", episodes.actions, episodes.action_size);
  read("rewards", episodes.rewards, 1);
  if (options.next_observations) {
    read("next_observations", episodes.next_observations, episodes.observation_size);
  }
  for (size_t i = 0; i < cuts.endings.size(); ++i) {
    if (cuts.endings[i] == Ending::kPartial && !options.keep_partial) continue;
    episodes.offsets.push_back(begin + cuts.offsets[i + 1]);
    episodes.endings.push_back(cuts.endings[i]);
  }
}

// Sets how many discrete actions there are. Throws if there is another one.
void SetDiscreteActions(const std::string& path, const ActionSpace& space, Episodes& episodes) {
  const int n = CountDiscreteActions(space, episodes.actions);
  episodes.discrete_actions = n;
  if (n == 0) return;
  const auto wrong = std::ranges::find_if_not(
      episodes.actions, [&](float action) { return IsDiscreteAction(action, n); });
  if (wrong == episodes.actions.end()) return;
  const auto row = wrong - episodes.actions.begin();
  throw FileError(path, "actions", DiscreteActionText(n),
                  std::to_string(static_cast<int64_t>(*wrong)) + " in row " + std::to_string(row));
}

// The name of the body that moves in files without a task, "" if no body fits.
std::string FindEnv(const std::string& path, const Source& source, const std::string& env,
                    float first_height) {
  const int observations = source.observation_size(), actions = source.action_space().size;
  const Body* body = FindBody(env);
  if (!body) {
    body = BodyOf(ReadRecordedEnv(source.hdf5()), path, observations, actions, first_height);
  } else if (body->observation_size != observations || body->action_size != actions) {
    throw FileError(path, "", Sizes(body->observation_size, body->action_size) + " of " + env,
                    Sizes(observations, actions));
  }
  return body ? body->name : "";
}

}  // namespace

Cuts CutEpisodes(std::span<const uint8_t> terminals, std::span<const uint8_t> timeouts,
                 size_t horizon) {
  Cuts cuts;
  for (size_t row = 0; row < terminals.size(); ++row) {
    const bool timeout =
        timeouts.empty() ? row + 1 - cuts.offsets.back() == horizon : timeouts[row] != 0;
    if (!terminals[row] && !timeout) continue;
    cuts.offsets.push_back(row + 1);
    cuts.endings.push_back(terminals[row] ? Ending::kTerminal : Ending::kTimeout);
  }
  if (cuts.offsets.back() < terminals.size()) {
    cuts.offsets.push_back(terminals.size());
    cuts.endings.push_back(Ending::kPartial);
  }
  return cuts;
}

Episodes ReadEpisodes(const std::vector<std::string>& paths, const ReadOptions& options) {
  if (paths.empty()) throw std::invalid_argument("ReadEpisodes: expected a file, found none");
  const Sources sources = OpenAll(paths, Threads(options));
  const Source& first = *sources[0];
  const std::string task = first.ReadTask();
  ExpectEnv(paths[0], task, options.env);

  Episodes episodes;
  episodes.observation_size = first.observation_size();
  episodes.action_size = first.action_space().size;
  episodes.offsets = {0};
  size_t rows = 0;
  for (const std::unique_ptr<Source>& source : sources) rows += source->rows();
  Resize(episodes, rows, options.next_observations);
  for (const std::unique_ptr<Source>& source : sources) ReadSource(*source, options, episodes);
  if (episodes.size() == 0) {
    throw FileError(paths[0], "terminals", "at least one complete episode",
                    "none in " + std::to_string(rows) + " rows");
  }
  Resize(episodes, episodes.rows(), options.next_observations);
  SumReturns(episodes);
  SetDiscreteActions(paths[0], first.action_space(), episodes);
  episodes.env =
      task.empty() ? FindEnv(paths[0], first, options.env, episodes.observations[0]) : task;
  return episodes;
}

Episodes ReadEpisodes(const std::string& path, const ReadOptions& options) {
  return ReadEpisodes(std::vector<std::string>{path}, options);
}

void SumReturns(Episodes& episodes) {
  episodes.returns_to_go.resize(episodes.rows());
  episodes.returns = SumBack(episodes.rewards, episodes.offsets, [&](size_t row, double sum) {
    episodes.returns_to_go[row] = static_cast<float>(sum);
  });
}

std::vector<double> SumRewards(std::span<const float> rewards, std::span<const size_t> offsets) {
  return SumBack(rewards, offsets, [](size_t, double) {});
}

std::vector<size_t> TopEpisodes(const Episodes& episodes, double percent) {
  if (!(percent > 0 && percent <= 100)) {
    throw std::invalid_argument("top: expected more than 0 and at most 100 %, found " +
                                std::to_string(percent));
  }
  std::vector<size_t> order(episodes.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::stable_sort(
      order, [&](size_t a, size_t b) { return episodes.returns[a] > episodes.returns[b]; });
  const double share = percent / 100 * static_cast<double>(order.size());
  order.resize(std::clamp<size_t>(std::llround(share), 1, order.size()));
  std::ranges::sort(order);
  return order;
}

std::vector<size_t> CompleteEpisodes(const Episodes& episodes) {
  std::vector<size_t> complete;
  for (size_t i = 0; i < episodes.size(); ++i) {
    if (episodes.endings[i] != Ending::kPartial) complete.push_back(i);
  }
  return complete;
}

void KeepEpisodes(Episodes& episodes, std::span<const size_t> kept) {
  size_t to = 0;
  std::vector<size_t> offsets{0};
  const auto move = [&](FloatVector& array, size_t width, size_t from, size_t rows) {
    if (array.empty()) return;
    std::copy_n(array.begin() + from * width, rows * width, array.begin() + to * width);
  };
  for (size_t i = 0; i < kept.size(); ++i) {
    if (kept[i] >= episodes.size() || (i > 0 && kept[i] <= kept[i - 1])) {
      throw std::invalid_argument("KeepEpisodes: expected ascending episodes below " +
                                  std::to_string(episodes.size()) + ", found " +
                                  std::to_string(kept[i]));
    }
    const size_t from = episodes.offsets[kept[i]];
    const size_t rows = episodes.length(kept[i]);
    move(episodes.observations, episodes.observation_size, from, rows);
    move(episodes.actions, episodes.action_size, from, rows);
    move(episodes.rewards, 1, from, rows);
    move(episodes.returns_to_go, 1, from, rows);
    move(episodes.next_observations, episodes.observation_size, from, rows);
    episodes.endings[i] = episodes.endings[kept[i]];
    episodes.returns[i] = episodes.returns[kept[i]];
    to += rows;
    offsets.push_back(to);
  }
  episodes.offsets = std::move(offsets);
  episodes.endings.resize(kept.size());
  episodes.returns.resize(kept.size());
  Resize(episodes, to, !episodes.next_observations.empty());
  episodes.returns_to_go.resize(to);
}

Episodes CopyEpisodes(const Episodes& episodes, std::span<const size_t> chosen) {
  Episodes copy;
  copy.env = episodes.env;
  copy.observation_size = episodes.observation_size;
  copy.action_size = episodes.action_size;
  copy.discrete_actions = episodes.discrete_actions;
  copy.offsets = {0};
  const auto append = [](FloatVector& to, const FloatVector& from, size_t width, size_t row,
                         size_t rows) {
    if (from.empty()) return;
    const auto begin = from.begin() + static_cast<ptrdiff_t>(row * width);
    to.insert(to.end(), begin, begin + static_cast<ptrdiff_t>(rows * width));
  };
  for (const size_t i : chosen) {
    const size_t from = episodes.offsets.at(i), rows = episodes.length(i);
    append(copy.observations, episodes.observations, episodes.observation_size, from, rows);
    append(copy.actions, episodes.actions, episodes.action_size, from, rows);
    append(copy.rewards, episodes.rewards, 1, from, rows);
    append(copy.returns_to_go, episodes.returns_to_go, 1, from, rows);
    append(copy.next_observations, episodes.next_observations, episodes.observation_size, from,
           rows);
    copy.offsets.push_back(copy.offsets.back() + rows);
    copy.endings.push_back(episodes.endings[i]);
    copy.returns.push_back(episodes.returns[i]);
  }
  return copy;
}

}  // namespace cosdt::datasets
