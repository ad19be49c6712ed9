#include "experiments/program/stop_signal.h"

#include <signal.h>

#include <array>

namespace cosdt::experiments {
namespace {

constexpr std::array kSignals = {SIGINT, SIGTERM, SIGUSR1};

volatile sig_atomic_t g_received = 0;

void SetHandlers(void (*handler)(int), int flags) {
  struct sigaction action = {};
  action.sa_handler = handler;
  action.sa_flags = flags;
  for (const int signal : kSignals) sigaction(signal, &action, nullptr);
}

void Note(int signal) { g_received = signal; }

}  // namespace

StopSignal::StopSignal() {
  g_received = 0;
  SetHandlers(Note, SA_RESTART | SA_RESETHAND);
}

StopSignal::~StopSignal() { SetHandlers(SIG_DFL, 0); }

int StopSignal::received() const { return g_received; }

}  // namespace cosdt::experiments
