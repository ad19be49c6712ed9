#pragma once

namespace cosdt::experiments {

// While it lives, SIGINT, SIGTERM and SIGUSR1 (which Slurm sends before a job's time is up) ask the
// work to save and stop instead of ending the program; a second signal ends it.
class StopSignal {
 public:
  StopSignal();
  ~StopSignal();
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;

  // The signal that has come, 0 before.
  int received() const;
};

}  // namespace cosdt::experiments
