#include "experiments/program/processes.h"

#include <c10/util/Exception.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <iostream>
#include <tuple>

#include "experiments/program/child_process.h"
#include "experiments/program/default_threads.h"
#include "experiments/program/device.h"

namespace cosdt::experiments {
namespace {

constexpr int kMaxProcesses = 1024;
constexpr int kWaitMilliseconds = 20;
// After a process has failed, as long as the others take to find it missing, and to save.
constexpr int kPatienceMilliseconds = 60'000;

int NumberIn(const std::string& path) {
  int number = 0;
  std::ifstream(path) >> number;
  return number;
}

// A place whose port is reserved by a socket that listens.
agents::ProcessPlace PlaceOnThisMachine(int size) {
  agents::ProcessPlace place{.size = size, .address = "127.0.0.1"};
  place.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t bytes = sizeof address;
  auto* const any = reinterpret_cast<sockaddr*>(&address);
  if (place.listener < 0 || bind(place.listener, any, bytes) != 0 ||
      listen(place.listener, SOMAXCONN) != 0 || getsockname(place.listener, any, &bytes) != 0) {
    throw std::runtime_error(std::string("processes: expected a free port on 127.0.0.1: ") +
                             std::strerror(errno));
  }
  place.port = ntohs(address.sin_port);
  return place;
}

void Pin(const std::vector<int>& processors) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const int cpu : processors) {
    if (cpu < CPU_SETSIZE) CPU_SET(cpu, &set);
  }
  if (!processors.empty()) sched_setaffinity(0, sizeof set, &set);
}

// The exit code of all: 128 + the signal that this process got if all have stopped for it, else
// that of the first that failed.
int WaitForAll(std::vector<pid_t> children, const StopSignal& stop) {
  int code = 0, patience = kPatienceMilliseconds;
  bool told = false;
  while (!children.empty()) {
    if (stop.received() != 0 && !told) {
      // one passes it on; another signal than it may have had from whoever stopped the whole group
      kill(children.front(), stop.received() == SIGTERM ? SIGUSR1 : SIGTERM);
      told = true;
    }
    usleep(1000 * kWaitMilliseconds);
    std::erase_if(children, [&](pid_t child) {
      int status = 0;
      if (waitpid(child, &status, WNOHANG) != child) return false;
      const int own = WIFEXITED(status) ? WEXITSTATUS(status) : 1;
      if (code == 0 || (code > 128 && own == 1)) code = own;
      return true;
    });
    if (code == 0) continue;
    patience -= kWaitMilliseconds;
    if (patience < 0) {
      for (const pid_t child : children) kill(child, SIGKILL);
    }
  }
  return code > 128 && stop.received() != 0 ? 128 + stop.received() : code;
}

// Starts the processes and gives each its place; does not return in this one.
agents::ProcessPlace StartProcesses(int count) {
  ExpectOneThread();
  const std::vector<std::vector<int>> parts =
      SplitProcessors(BoundsOfThisProcess().processors, count);
  agents::ProcessPlace place = PlaceOnThisMachine(count);
  const StopSignal stop;
  const pid_t parent = getpid();
  std::vector<pid_t> children;
  for (place.rank = 0; place.rank < count; ++place.rank) {
    place.local_rank = place.rank;
    const pid_t child = fork();
    if (child < 0) {
      for (const pid_t started : children) kill(started, SIGKILL);
      throw std::runtime_error(std::string("fork: ") + std::strerror(errno));
    }
    if (child > 0) {
      children.push_back(child);
      continue;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(1);
    if (!parts.empty()) Pin(parts[static_cast<size_t>(place.rank)]);
    if (place.rank > 0) close(std::exchange(place.listener, -1));
    return place;
  }
  close(place.listener);
  throw CLI::RuntimeError(WaitForAll(children, stop));
}

std::string MessageOf(const std::exception& e) {
  const auto* const error = dynamic_cast<const c10::Error*>(&e);
  return error ? OneLine(error->what_without_backtrace()) : e.what();
}

}  // namespace

void AddProcessesOption(CLI::App& command, int& processes, const std::string& what) {
  command
      .add_option("--processes", processes,
                  "processes on this machine that " + what +
                      " together (those of torchrun, srun and mpirun do so without it)")
      ->check(CLI::Range(1, kMaxProcesses))
      ->capture_default_str();
}

void RunTogether(int processes, const std::function<void(agents::ProcessGroup*)>& work) {
  std::optional<agents::ProcessPlace> place = agents::FindProcessPlace();
  if (place && processes > 1) {
    throw std::invalid_argument("processes: expected none, as a launcher has started this one (" +
                                std::to_string(place->size) + "), found " +
                                std::to_string(processes));
  }
  if (processes > 1) place = StartProcesses(processes);
  if (!place) return work(nullptr);
  signal(SIGPIPE, SIG_IGN);  // what is written to a process that has ended fails and is reported
  agents::ProcessGroup group(*place);
  try {
    work(&group);
    std::cout.flush();
    group.Finish();
  } catch (const CLI::RuntimeError&) {  // all have stopped
    group.Finish();
    throw;
  } catch (const std::exception& e) {
    std::string message = MessageOf(e);
    const bool is_lost = dynamic_cast<const agents::ProcessLost*>(&e) != nullptr;
    if (!is_lost) message = group.Name() + ": " + message;
    if (!group.Fail(message, is_lost)) throw CLI::RuntimeError(1);  // another one says so
    throw std::runtime_error(message);
  }
}

std::vector<std::vector<int>> SplitProcessors(std::vector<int> processors, int count,
                                              const std::string& root) {
  const auto parts = static_cast<size_t>(count);
  if (processors.size() < parts) return {};
  const auto place = [&](int cpu) {
    const std::string topology =
        root + "/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/";
    return std::tuple(NumberIn(topology + "physical_package_id"),
                      NumberIn(topology + "thread_siblings_list"), cpu);
  };
  std::ranges::sort(processors, {}, place);
  std::vector<std::vector<int>> result;
  for (size_t i = 0; i < parts; ++i) {
    const auto at = [&](size_t part) {
      return processors.begin() + static_cast<ptrdiff_t>(part * processors.size() / parts);
    };
    result.emplace_back(at(i), at(i + 1));
  }
  return result;
}

}  // namespace cosdt::experiments
