#include "experiments/report/gnuplot.h"

#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>

namespace cosdt::experiments {
namespace {

// A file in memory: unlike a pipe it holds everything written before anyone reads.
class MemoryFile {
 public:
  MemoryFile() : file_(memfd_create("gnuplot", MFD_CLOEXEC)) {
    if (file_ < 0) Fail();
  }
  ~MemoryFile() { close(file_); }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;

  int descriptor() const { return file_; }

  void Write(const std::string& text) {
    for (size_t done = 0; done < text.size();) {
      const ssize_t n =
          pwrite(file_, text.data() + done, text.size() - done, static_cast<off_t>(done));
      if (n < 0) Fail();
      done += static_cast<size_t>(n);
    }
  }

  std::string Read() const {
    std::string text;
    char buffer[65536];
    for (ssize_t n;
         (n = pread(file_, buffer, sizeof buffer, static_cast<off_t>(text.size()))) != 0;) {
      if (n < 0) Fail();
      text.append(buffer, static_cast<size_t>(n));
    }
    return text;
  }

 private:
  [[noreturn]] static void Fail() {
    throw std::runtime_error(std::string("gnuplot: a file in memory: ") + std::strerror(errno));
  }

  int file_;
};

}  // namespace

std::string RunGnuplot(const std::string& script) {
  MemoryFile in, out, messages;
  in.Write(script);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, in.descriptor(), STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, out.descriptor(), STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, messages.descriptor(), STDERR_FILENO);
  // -d: without a user's own settings
  const char* arguments[] = {"gnuplot", "-d", nullptr};
  pid_t child = -1;
  const int error = posix_spawnp(&child, "gnuplot", &actions, nullptr,
                                 const_cast<char* const*>(arguments), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) {
    throw std::runtime_error(
        std::string("plots: expected the program gnuplot (package gnuplot-nox), found: ") +
        std::strerror(error));
  }
  int status = -1;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (status != 0) {
    std::string line = messages.Read();
    line.erase(0, line.find("line "));  // drops the script's line and the mark below it
    line = line.substr(0, line.find('\n'));
    throw std::runtime_error("plots: gnuplot failed: " + (line.empty() ? "no message" : line));
  }
  return out.Read();
}

std::string GnuplotString(const std::string& text) {
  std::string quoted = "'";
  for (const char c : text) {
    if (c == '\'') quoted += '\'';
    quoted += static_cast<unsigned char>(c) < ' ' ? ' ' : c;
  }
  return quoted + "'";
}

}  // namespace cosdt::experiments
