#include "datasets/probe.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <exception>
#include <stdexcept>
#include <vector>

#include "datasets/d4rl_file.h"
#include "datasets/hdf5_file.h"
#include "datasets/hdf5_id.h"
#include "datasets/recorded_env.h"

namespace cosdt::datasets {
namespace {

constexpr unsigned kMaxSeconds = 60;  // a damaged index may run in a circle

// Looks up every chunk, as ReadArray will.
void LookUpChunks(const Hdf5File& file, const std::string& key) {
  const ArrayInfo info = file.Info(key);
  const Hdf5Id dataset(file.Open(key), H5Oclose);
  const Hdf5Id properties(H5Dget_create_plist(dataset), H5Pclose);
  if (H5Pget_layout(properties) != H5D_CHUNKED || info.shape.empty()) return;
  std::vector<hsize_t> chunk(info.shape.size());
  if (H5Pget_chunk(properties, static_cast<int>(chunk.size()), chunk.data()) < 0) return;
  std::vector<hsize_t> offset(chunk.size());
  // an array of more chunks than this is not read
  for (uint64_t count = 0; offset[0] < info.shape[0] && count <= file.file_size(); ++count) {
    hsize_t size = 0;
    H5Dget_chunk_storage_size(dataset, offset.data(), &size);
    size_t axis = chunk.size() - 1;
    offset[axis] += chunk[axis];
    for (; axis > 0 && offset[axis] >= info.shape[axis]; --axis) {
      offset[axis] = 0;
      offset[axis - 1] += chunk[axis - 1];
    }
  }
}

// Strings that are read from datasets. Those of variable length lie in a heap, and HDF5 may crash
// on a damaged one.
constexpr const char* kStrings[] = {"metadata/algorithm", kPhysicsKey, kMujocoVersionKey,
                                    D4rlFile::kTask, kActionSpaceKey};

void Walk(const std::string& path) {
  const Hdf5File file(path);
  for (const std::string& key : file.Datasets()) {
    try {
      LookUpChunks(file, key);
    } catch (const FileError&) {
      // what is wrong with an array matters to those who need it: they will be told
    }
  }
  file.ReadAttribute(kEnvSpecKey);
  for (const char* const key : kStrings) {
    try {
      if (file.Has(key)) file.ReadString(key);
    } catch (const FileError&) {
      // as above
    }
  }
}

// Sends an error as its three parts, each ended by a zero byte.
void Send(int to, const FileError& error) {
  std::string text;
  for (const std::string& part : {error.key(), error.expected(), error.found()}) {
    text += part.c_str();
    text += '\0';
  }
  // shorter than what a pipe takes at once; a parent that is gone does not matter
  if (write(to, text.data(), text.size()) < 0) _exit(2);
}

[[noreturn]] void RunChild(const std::string& path, int to) {
  const rlimit no_core{0, 0};
  setrlimit(RLIMIT_CORE, &no_core);
  const int nowhere = open("/dev/null", O_WRONLY);
  dup2(nowhere, STDOUT_FILENO);
  dup2(nowhere, STDERR_FILENO);  // where the C library says what it found before it aborts
  for (const int caught : {SIGSEGV, SIGBUS, SIGFPE, SIGABRT, SIGALRM}) signal(caught, SIG_DFL);
  alarm(kMaxSeconds);
  try {
    Walk(path);
  } catch (const FileError& error) {
    Send(to, error);
    _exit(1);
  } catch (const std::exception& error) {
    Send(to, FileError(path, "", "a readable structure", error.what()));
    _exit(1);
  }
  _exit(0);
}

}  // namespace

void ProbeFile(const std::string& path) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) {
    throw std::runtime_error(std::string("pipe: ") + std::strerror(errno));
  }
  const pid_t child = fork();
  if (child < 0) throw std::runtime_error(std::string("fork: ") + std::strerror(errno));
  if (child == 0) RunChild(path, ends[1]);
  close(ends[1]);
  std::string text;
  char block[512];
  for (ssize_t n; (n = read(ends[0], block, sizeof block)) != 0;) {
    if (n > 0) text.append(block, static_cast<size_t>(n));
    if (n < 0 && errno != EINTR) break;
  }
  close(ends[0]);
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return;
  if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM) {
    throw FileError(path, "", "a structure that can be walked through",
                    "no end of it in " + std::to_string(kMaxSeconds) + " s");
  }
  std::vector<std::string> parts;
  for (size_t begin = 0, end; (end = text.find('\0', begin)) != std::string::npos;
       begin = end + 1) {
    parts.push_back(text.substr(begin, end - begin));
  }
  if (parts.size() == 3) throw FileError(path, parts[0], parts[1], parts[2]);
  throw FileError(path, "", "an intact HDF5 structure", "damage that crashes the HDF5 library");
}

}  // namespace cosdt::datasets
