#include "datasets/file_lock.h"

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>

namespace cosdt::datasets {

bool HasNoLocks(int error) {
  return error == ENOSYS || error == ENOLCK || error == EOPNOTSUPP || error == EINVAL;
}

void WarnWithoutLock(const std::string& path, int error) {
  static std::atomic<bool> warned = false;
  if (warned.exchange(true)) return;
  std::fprintf(stderr,
               "cosdt: %s: its file system has no locks (%s): continuing without; nothing tells "
               "whether another process uses the file\n",
               path.c_str(), std::strerror(error));
}

}  // namespace cosdt::datasets
