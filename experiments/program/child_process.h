#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "experiments/program/stop_signal.h"

namespace cosdt::experiments {

// Throws std::logic_error if this process has more than one thread: fork copies the calling thread
// alone.
void ExpectOneThread();

// Runs `work` in a process of its own and returns its result. The child's failures and memory are
// its own: an exception, a crash and being killed for lack of memory alike become a
// std::runtime_error here that says what happened. It ends with its parent, however that ends; a
// signal that asks the parent to stop is passed on. Throws std::logic_error if the parent has other
// threads, such as OpenMP's after a parallel region of LibTorch.
nlohmann::json RunJsonInChild(const std::function<nlohmann::json()>& work, const StopSignal& stop);

// The same for any result with a conversion to JSON and back.
template <class Work>
auto RunInChild(const Work& work, const StopSignal& stop) {
  return RunJsonInChild([&] { return nlohmann::json(work()); }, stop)
      .template get<decltype(work())>();
}

// Returns freed memory to the system, so that it is no longer counted as held.
void ReturnFreedMemory();

// The most memory that this process has held at once since the last reset.
class PeakMemory {
 public:
  // Resets through the kernel's file for that.
  explicit PeakMemory(const std::string& clear_refs = "/proc/self/clear_refs");

  // In bytes, without what was held at the reset. None if the file could not be written, as in some
  // containers: the peak may then be one from before.
  std::optional<int64_t> bytes() const;

 private:
  std::optional<int64_t> before_;
};

}  // namespace cosdt::experiments
