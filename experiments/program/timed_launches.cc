#include "experiments/program/timed_launches.h"

#include <chrono>
#include <utility>

#include "experiments/program/cuda_runtime.h"

namespace cosdt::experiments {
namespace {

class SteadyLaunches : public TimedLaunches {
 public:
  SteadyLaunches(int count, std::function<void(int)> work) : count_(count), work_(std::move(work)) {
    Seconds();
  }
  double Seconds() override {
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < count_; ++i) work_(i);
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    return elapsed.count() / count_;
  }

 private:
  int count_;
  std::function<void(int)> work_;
};

}  // namespace

std::unique_ptr<TimedLaunches> MakeTimedLaunches(const c10::Device& device, int count,
                                                 std::function<void(int)> work) {
  if (device.is_cpu()) return std::make_unique<SteadyLaunches>(count, std::move(work));
  return TheCudaRuntime().record(device, count, std::move(work));
}

}  // namespace cosdt::experiments
