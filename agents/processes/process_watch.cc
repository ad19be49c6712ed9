#include "agents/processes/process_watch.h"

#include <algorithm>
#include <condition_variable>
#include <limits>
#include <mutex>

namespace cosdt::agents {
namespace {

using namespace std::chrono_literals;

constexpr char kFailure[] = "failure", kReports[] = "reports";
constexpr char kStill[] = "no progress for ";  // in the place of a beat
constexpr auto kBeat = 500ms, kPoll = 50ms;
constexpr int64_t kTimesLongest = 4;

}  // namespace

std::string BeatKey(int rank) { return "beat/" + std::to_string(rank); }

struct ProcessWatch::State {
  c10::intrusive_ptr<c10d::Store> store;
  int rank = 0;
  std::vector<std::string> names;

  std::mutex mutex;
  std::condition_variable changed;
  bool ends = false, looks = false, is_gone = false;
  int64_t rounds = 0;
  std::vector<std::string> beats;  // as last seen
  std::vector<int> missed;         // beats of ours since one of theirs
  std::string failure;

  bool computes = false, is_still = false;
  int64_t allowance = 0, without_progress = 0, longest = -1;  // in beats; -1: not known yet

  void Beat();
  void CountStill();
  void LookAtOthers();
  static void Run(const std::shared_ptr<State>& state);
};

void ProcessWatch::State::LookAtOthers() {
  std::vector<std::string> keys, seen;
  for (size_t r = 0; r < names.size(); ++r) keys.push_back(BeatKey(static_cast<int>(r)));
  for (const std::vector<uint8_t>& value : store->multiGet(keys)) {
    seen.emplace_back(value.begin(), value.end());
  }
  std::string report;
  if (store->check({kFailure})) report = store->get_to_str(kFailure);
  const std::lock_guard lock(mutex);
  failure = report;
  for (size_t r = 0; r < names.size(); ++r) {
    const bool is_new = beats.size() != names.size() || beats[r] != seen[r];
    missed[r] = is_new ? 0 : missed[r] + 1;
  }
  beats = seen;
}

// From the first time on, there are no beats any more.
void ProcessWatch::State::CountStill() {
  int64_t beats_ago = 0;
  {
    const std::lock_guard lock(mutex);
    if (!computes || ++without_progress <= std::max(allowance, kTimesLongest * longest)) return;
    if (longest < 0) return;
    beats_ago = without_progress;
  }
  is_still = true;
  const std::chrono::seconds ago =
      std::chrono::duration_cast<std::chrono::seconds>(beats_ago * kBeat);
  store->set(BeatKey(rank), kStill + std::to_string(ago.count()) + " s");
}

void ProcessWatch::State::Beat() {
  if (!is_still) CountStill();
  if (!is_still) store->add(BeatKey(rank), 1);
  bool look = false;
  {
    const std::lock_guard lock(mutex);
    look = looks;
  }
  if (look) LookAtOthers();
}

void ProcessWatch::State::Run(const std::shared_ptr<State>& state) {
  for (;;) {
    try {
      state->Beat();
    } catch (const std::exception&) {
      const std::lock_guard lock(state->mutex);
      state->is_gone = true;
      return;
    }
    std::unique_lock lock(state->mutex);
    ++state->rounds;
    if (state->changed.wait_for(lock, kBeat, [&] { return state->ends; })) return;
  }
}

ProcessWatch::ProcessWatch(c10::intrusive_ptr<c10d::Store> store, int rank,
                           std::vector<std::string> names, std::chrono::milliseconds allowance)
    : state_(std::make_shared<State>()) {
  state_->store = std::move(store);
  state_->rank = rank;
  state_->allowance = allowance / kBeat;
  state_->names = std::move(names);
  state_->missed.resize(state_->names.size());
  thread_ = std::thread([state = state_] { State::Run(state); });
}

ProcessWatch::~ProcessWatch() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->ends = true;
  }
  state_->changed.notify_one();
  if (silent_ > 3) {
    thread_.detach();
  } else {
    thread_.join();
  }
}

void ProcessWatch::Compute(bool on) {
  Progress();
  const std::lock_guard lock(state_->mutex);
  state_->computes = on;
}

void ProcessWatch::Progress() {
  const std::lock_guard lock(state_->mutex);
  if (!state_->computes) return;
  state_->longest = std::max(state_->longest, state_->without_progress);
  state_->without_progress = 0;
}

void ProcessWatch::Look(bool on) {
  const std::lock_guard lock(state_->mutex);
  state_->looks = on;
  state_->beats.clear();
  state_->missed.assign(state_->names.size(), 0);
}

std::string ProcessWatch::Missing(int beats) const {
  const std::lock_guard lock(state_->mutex);
  if (!state_->failure.empty()) return state_->failure;
  std::string missing;
  for (size_t r = 0; r < state_->names.size(); ++r) {
    if (static_cast<int>(r) == state_->rank) continue;
    const bool is_still = r < state_->beats.size() && state_->beats[r].starts_with(kStill);
    if (!is_still && state_->missed[r] < beats) continue;
    missing += (missing.empty() ? "" : ", ") + state_->names[r] +
               (is_still ? " stands still: " + state_->beats[r] : " ended or does not answer");
  }
  return missing;
}

int ProcessWatch::CallsSinceAnswer() {
  const std::lock_guard lock(state_->mutex);
  if (state_->is_gone) return std::numeric_limits<int>::max();
  silent_ = state_->rounds == rounds_seen_ ? silent_ + 1 : 0;
  rounds_seen_ = state_->rounds;
  return silent_;
}

bool ProcessWatch::Report(const std::string& message, bool yields) {
  if (CallsSinceAnswer() > 3) return true;
  try {
    for (int i = 0; yields && i < 100 && !state_->store->check({kFailure}); ++i) {
      std::this_thread::sleep_for(kPoll);
    }
    // several may have the same message
    if (state_->store->check({kFailure}) || state_->store->add(kReports, 1) > 1) return false;
    state_->store->set(kFailure, message);
    return true;
  } catch (const std::exception&) {
    return true;  // nobody else can be asked
  }
}

void ProcessWatch::WaitFor(int count, const std::string& what, int seconds) {
  const auto poll = [&](const std::string& key, int polls) {
    int64_t here = state_->store->add(key, 1);
    for (int i = 0; i < polls && here < count; ++i) {
      std::this_thread::sleep_for(kPoll);
      here = state_->store->add(key, 0);
    }
  };
  const auto polls = static_cast<int>(seconds * 1s / kPoll);
  try {
    poll(what, polls);
    // whoever keeps the store is the last to end
    poll(what + "/seen", state_->rank == 0 ? polls : 0);
  } catch (const std::exception&) {
    // the store has gone: all others have ended
  }
}

}  // namespace cosdt::agents
