// Who of the processes still runs, and gets on.
#pragma once

#include <torch/torch.h>

#include <torch/csrc/distributed/c10d/Store.hpp>

#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace cosdt::agents {

// Under which the store counts a rank's signs of life.
std::string BeatKey(int rank);

// Counts two beats per second in the store, and on request watches those of the others, in a thread
// of its own: the store of a host that is cut off does not answer. Beats are counted, not timed, so
// that a machine that was suspended finds nobody missing.
class ProcessWatch {
 public:
  // `names` of the processes in messages, by rank. This process stands still if it computes without
  // progress for longer than `allowance`, and than four times the longest that it has needed yet.
  // Its first computation has all the time it takes.
  ProcessWatch(c10::intrusive_ptr<c10d::Store> store, int rank, std::vector<std::string> names,
               std::chrono::milliseconds allowance);

  // Leaves the thread behind if the store does not answer.
  ~ProcessWatch();

  // Whether this process computes, from now on. Each call is progress.
  void Compute(bool on);

  // Its computation goes on, or its wait for others.
  void Progress();

  // Whether the others are watched, from now on.
  void Look(bool on);

  // What is known of others since Look(true): the first failure that was reported, or the names of
  // those that stand still or let `beats` of this process's go by without one of theirs; "" if
  // nothing is known.
  std::string Missing(int beats) const;

  // How many calls have gone by, of one per second or so, since the store answered last.
  int CallsSinceAnswer();

  // Writes a failure into the store, unless one is there: whether it was the first. `yields`: gives
  // rank 0 the time to be it.
  bool Report(const std::string& message, bool yields);

  // Counts this process in, and waits up to `seconds` for `count` to be there.
  void WaitFor(int count, const std::string& what, int seconds);

 private:
  struct State;

  std::shared_ptr<State> state_;
  int64_t rounds_seen_ = 0;
  int silent_ = 0;
  std::thread thread_;
};

}  // namespace cosdt::agents
