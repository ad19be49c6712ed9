#include "experiments/program/child_process.h"

#include <c10/util/Exception.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <thread>

#include "experiments/program/device.h"
#include "experiments/program/utf8.h"

namespace cosdt::experiments {
namespace {

using nlohmann::json;

constexpr int kPollMilliseconds = 100;

// Nothing may leave the child's branch: it would run as a second parent.
[[noreturn]] void RunChild(const std::function<json()>& work, pid_t parent, int pipe_end) noexcept {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(1);  // the parent ended before that was set
  json report;
  try {
    report["result"] = work();
  } catch (const c10::Error& e) {
    report["error"] = OneLine(e.what_without_backtrace());
  } catch (const std::exception& e) {
    report["error"] = e.what();
  }
  const std::string text = DumpJson(report);
  for (size_t done = 0; done < text.size();) {
    const ssize_t written = write(pipe_end, text.data() + done, text.size() - done);
    if (written < 0 && errno != EINTR) _exit(1);
    if (written > 0) done += static_cast<size_t>(written);
  }
  std::fflush(stdout);
  _exit(0);
}

// Everything up to the pipe's end. A stop is passed on to the child once, as a signal that it has
// not had from whoever stopped the whole group: a second one of the same kind would end it.
std::string ReadAll(int pipe_end, pid_t child, const StopSignal& stop) {
  std::string text;
  bool told = false;
  for (;;) {
    if (stop.received() != 0 && !told) {
      kill(child, stop.received() == SIGTERM ? SIGUSR1 : SIGTERM);
      told = true;
    }
    struct pollfd ready = {pipe_end, POLLIN, 0};
    if (poll(&ready, 1, kPollMilliseconds) <= 0) continue;
    char buffer[4096];
    const ssize_t count = read(pipe_end, buffer, sizeof buffer);
    if (count == 0) return text;
    if (count > 0) text.append(buffer, static_cast<size_t>(count));
  }
}

int64_t StatusBytes(const std::string& name) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(name + ":")) return 1024 * std::stoll(line.substr(name.size() + 1));
  }
  throw std::runtime_error("/proc/self/status: expected " + name + ", found none");
}

}  // namespace

// fork copies the calling thread alone: in a child, OpenMP's next parallel region would wait for
// ever for the threads that the parent's last one left behind. Joined threads are listed a moment
// longer.
void ExpectOneThread() {
  using std::filesystem::directory_iterator;
  const auto count = [] {
    return std::distance(directory_iterator("/proc/self/task"), directory_iterator());
  };
  for (int waits = 0; waits < 20 && count() != 1; ++waits) {
    std::this_thread::sleep_for(std::chrono::milliseconds(kPollMilliseconds / 2));
  }
  if (count() == 1) return;
  throw std::logic_error("fork: expected a process with one thread, found " +
                         std::to_string(count()));
}

json RunJsonInChild(const std::function<json()>& work, const StopSignal& stop) {
  ExpectOneThread();
  int ends[2];
  if (pipe(ends) != 0) throw std::runtime_error(std::string("pipe: ") + std::strerror(errno));
  std::fflush(stdout);
  const pid_t parent = getpid(), child = fork();
  if (child < 0) throw std::runtime_error(std::string("fork: ") + std::strerror(errno));
  if (child == 0) {
    close(ends[0]);
    RunChild(work, parent, ends[1]);
  }
  close(ends[1]);
  const std::string text = ReadAll(ends[0], child, stop);
  close(ends[0]);
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFSIGNALED(status)) {
    throw std::runtime_error("its process was ended by signal " + std::to_string(WTERMSIG(status)) +
                             (WTERMSIG(status) == SIGKILL ? " (is memory short?)" : ""));
  }
  json report = json::parse(text, nullptr, false);
  if (!report.is_object()) throw std::runtime_error("its process ended without a result");
  if (report.contains("error")) throw std::runtime_error(report["error"].get<std::string>());
  return std::move(report["result"]);
}

void ReturnFreedMemory() {
#ifdef __GLIBC__
  malloc_trim(0);
#endif
}

PeakMemory::PeakMemory(const std::string& clear_refs) {
  std::ofstream reset(clear_refs);
  if (reset << 5 << std::flush) before_ = StatusBytes("VmRSS");  // resets VmHWM
}

std::optional<int64_t> PeakMemory::bytes() const {
  if (!before_) return std::nullopt;
  return StatusBytes("VmHWM") - *before_;
}

}  // namespace cosdt::experiments
