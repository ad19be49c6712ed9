#include "experiments/bench/attention_runner.h"

#include <c10/core/Allocator.h>
#include <c10/util/ThreadLocalDebugInfo.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>

namespace cosdt::experiments {
namespace {

// Counts what LibTorch's CPU allocator hands out to this thread.
class MemoryMeter : public c10::MemoryReportingInfoBase {
 public:
  void reportMemoryUsage(void*, int64_t bytes, size_t, size_t, c10::Device) override {
    current_ += bytes;
    peak_ = std::max(peak_, current_);
  }
  bool memoryProfilingEnabled() const override { return true; }
  int64_t peak() const { return peak_; }

 private:
  int64_t current_ = 0, peak_ = 0;
};

}  // namespace

double BestRate(double seconds, double units, const std::function<void()>& work) {
  using Clock = std::chrono::steady_clock;
  const Clock::time_point start = Clock::now();
  Clock::time_point end = start;
  std::chrono::duration<double> best = std::chrono::hours(1);
  do {
    const Clock::time_point begin = end;
    work();
    end = Clock::now();
    best = std::min<std::chrono::duration<double>>(best, end - begin);
  } while (end - start < std::chrono::duration<double>(seconds));
  return units / best.count();
}

AttentionRunner::AttentionRunner(const attention::Case& c)
    : case_(c), attention_(c.options, c.width) {
  torch::manual_seed(0);
  const auto normal = [&](int64_t width) {
    return torch::randn({c.batch, c.heads, c.length, width});
  };
  q_ = normal(c.width).requires_grad_();
  k_ = normal(c.width).requires_grad_();
  v_ = normal(c.value_width).requires_grad_();
  grad_ = normal(c.value_width);
}

void AttentionRunner::Forward() {
  const torch::NoGradGuard no_grad;
  attention_->forward(q_, k_, v_);
}

void AttentionRunner::ForwardBackward() {
  torch::autograd::grad({attention_->forward(q_, k_, v_)}, {q_, k_, v_}, {grad_}, std::nullopt,
                        false, true);
}

double AttentionRunner::Rate(bool backward) {
  return BestRate(0.15, static_cast<double>(case_.batch * case_.heads * case_.length),
                  [&] { backward ? ForwardBackward() : Forward(); });
}

int64_t AttentionRunner::ExtraMemory(bool backward) {
  auto meter = std::make_shared<MemoryMeter>();
  {
    const c10::DebugInfoGuard guard(c10::DebugInfoKind::PROFILER_STATE, meter);
    backward ? ForwardBackward() : Forward();
  }
  const attention::Case& c = case_;
  int64_t returned = c.value_width;
  if (backward) returned += 2 * c.width + c.value_width;
  // identity returns one gradient thrice, which is less than what is subtracted
  return std::max<int64_t>(0, meter->peak() - 4 * c.batch * c.heads * c.length * returned);
}

}  // namespace cosdt::experiments
