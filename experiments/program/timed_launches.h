// The time that work takes on a device, without the time to launch it.
#pragma once

#include <c10/core/Device.h>

#include <functional>
#include <memory>

namespace cosdt::experiments {

class TimedLaunches {
 public:
  virtual ~TimedLaunches() = default;

  // Runs all launches once; returns the mean time of one.
  virtual double Seconds() = 0;
};

// Calls work(0) .. work(count - 1) once to warm up, and then for every measurement: on a GPU they
// are recorded once in a graph, on a stream of their own, which is replayed between two events; on
// the CPU they are called again and timed by the steady clock. Launches of different numbers should
// work on different tensors, of which there are enough to exceed the cache. Whatever `work` refers
// to must outlive the result.
std::unique_ptr<TimedLaunches> MakeTimedLaunches(const c10::Device& device, int count,
                                                 std::function<void(int)> work);

}  // namespace cosdt::experiments
