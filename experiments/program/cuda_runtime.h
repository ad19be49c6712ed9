// Functions of builds with CUDA. device_cuda.cc and timed_launches_cuda.cc are compiled only in
// such builds and register themselves here before main begins; all other code is the same in both.
#pragma once

#include <c10/core/Device.h>

#include <functional>
#include <memory>
#include <string>

#include "experiments/program/timed_launches.h"

namespace cosdt::experiments {

struct CudaRuntime {
  std::string toolkit;  // version that the kernels are compiled with, "13.0"; "" without CUDA

  // Why no GPU can be used at all (no driver, a driver older than the toolkit), or "".
  std::function<std::string()> problem;
  std::function<int()> device_count;

  // 10 major + minor of a device, and its name.
  std::function<int(int)> compute_capability;
  std::function<std::string(int)> name;

  // MakeTimedLaunches for a GPU.
  std::function<std::unique_ptr<TimedLaunches>(const c10::Device&, int, std::function<void(int)>)>
      record;
};

// This build's; tests may put another in its place.
CudaRuntime& TheCudaRuntime();

}  // namespace cosdt::experiments
