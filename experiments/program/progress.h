#pragma once

#include <chrono>
#include <string>

namespace cosdt::experiments {

// Shows the progress of long work on standard error: on a terminal a bar with the rate and the time
// left, otherwise a plain line every ten seconds.
class Progress {
 public:
  // `unit` names what is counted ("transitions"); a total of 0 is unknown.
  Progress(std::string label, std::string unit, double total);

  // Ends the bar's line.
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // `note` is shown after the rate and the time left.
  void Update(double done, const std::string& note = "");

 private:
  using Clock = std::chrono::steady_clock;

  std::string label_, unit_;
  double total_;
  bool terminal_;
  bool drawn_ = false;
  Clock::time_point start_, last_;
  double first_ = -1;  // the first count, of resumed work
};

}  // namespace cosdt::experiments
