#include "experiments/program/timing.h"

#include <chrono>

namespace cosdt::experiments {

double Rate(double seconds, const std::function<long()>& work) {
  using Clock = std::chrono::steady_clock;
  const Clock::time_point start = Clock::now();
  long units = 0;
  std::chrono::duration<double> elapsed{};
  do {
    units += work();
    elapsed = Clock::now() - start;
  } while (elapsed.count() < seconds);
  return static_cast<double>(units) / elapsed.count();
}

}  // namespace cosdt::experiments
