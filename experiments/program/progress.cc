#include "experiments/program/progress.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <utility>

namespace cosdt::experiments {
namespace {

constexpr double kBarSeconds = 0.1, kLineSeconds = 10;
constexpr int kBarWidth = 30;

}  // namespace

Progress::Progress(std::string label, std::string unit, double total)
    : label_(std::move(label)),
      unit_(std::move(unit)),
      total_(total),
      terminal_(isatty(STDERR_FILENO)),
      start_(Clock::now()),
      last_(start_) {}

Progress::~Progress() {
  if (terminal_ && drawn_) std::fputc('\n', stderr);
}

void Progress::Update(double done, const std::string& note) {
  const std::string tail = note.empty() ? "" : ", " + note;
  const Clock::time_point now = Clock::now();
  const auto seconds = [](Clock::duration d) { return std::chrono::duration<double>(d).count(); };
  if (first_ < 0) first_ = done;
  const bool finished = total_ > 0 && done >= total_;
  if (seconds(now - last_) < (terminal_ ? kBarSeconds : kLineSeconds) && !(terminal_ && finished)) {
    return;
  }
  last_ = now;
  const double rate = (done - first_) / std::max(seconds(now - start_), 1e-9);
  const double share = total_ > 0 ? std::min(done / total_, 1.0) : 0;
  const double left = rate > 0 && total_ > 0 ? (total_ - done) / rate : 0;
  if (terminal_) {
    const std::string bar(static_cast<size_t>(share * kBarWidth), '#');
    std::fprintf(stderr, "\r%s [%-*s] %3.0f %% %.3g %s/s, %.0f s left%s \033[K", label_.c_str(),
                 kBarWidth, bar.c_str(), 100 * share, rate, unit_.c_str(), left, tail.c_str());
    drawn_ = true;
  } else {
    std::fprintf(stderr, "%s: %.0f of %.0f %s, %.3g/s, %.0f s left%s\n", label_.c_str(), done,
                 total_, unit_.c_str(), rate, left, tail.c_str());
  }
}

}  // namespace cosdt::experiments
