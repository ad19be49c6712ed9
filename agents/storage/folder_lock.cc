#include "agents/storage/folder_lock.h"

#include <fcntl.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "datasets/file_lock.h"

namespace cosdt::agents {

FolderLock::FolderLock(const std::string& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) throw std::runtime_error(folder + ": cannot be made: " + error.message());
  const std::string path = folder + "/lock";
  file_ = datasets::FileDescriptor(path, O_RDWR | O_CREAT);
  if (!file_.is_open())
    throw std::runtime_error(path + ": cannot be opened: " + std::strerror(errno));
  struct flock lock = {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  if (fcntl(file_, F_SETLK, &lock) == 0) return;
  const int reason = errno;
  if (datasets::HasNoLocks(reason)) {
    datasets::WarnWithoutLock(path, reason);
    return;
  }
  const bool held = reason == EACCES || reason == EAGAIN;
  const bool known = held && fcntl(file_, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
  if (!held) throw std::runtime_error(path + ": cannot be locked: " + std::strerror(reason));
  throw FolderInUse(folder + ": expected a folder that no other process works in, found it in use" +
                    (known ? " by process " + std::to_string(lock.l_pid) : ""));
}

bool FolderLock::IsHeldElsewhere(const std::string& folder) {
  const datasets::FileDescriptor file(folder + "/lock", O_RDWR);
  if (!file.is_open()) return false;
  struct flock lock = {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  return fcntl(file, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

}  // namespace cosdt::agents
