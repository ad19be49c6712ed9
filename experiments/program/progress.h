#pragma once

#include <chrono>
#include <string>

namespace cosdt::experiments {

// Tells on standard error how far long work is: on a terminal a bar that is redrawn, with the rate
// and the time left; elsewhere a plain line every ten seconds.
class Progress {
 public:
  // `unit` names what is counted ("transitions"); a total of 0 is unknown.
  Progress(std::string label, std::string unit, double total);

  // Ends the bar's line.
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // `note` is shown behind the rate and the time left.
  void Update(double done, const std::string& note = "");

 private:
  using Clock = std::chrono::steady_clock;

  std::string label_, unit_;
  double total_;
  bool terminal_;
  bool drawn_ = false;
  Clock::time_point start_, last_;
  double first_ = -1;  // where a resumed piece of work began
};

}  // namespace cosdt::experiments
