#include "agents/storage/folder_lock.h"

#include <fcntl.h>
#include <unistd.h>

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
  file_ = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (file_ < 0) throw std::runtime_error(path + ": cannot be opened: " + std::strerror(errno));
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
  close(file_);
  if (!held) throw std::runtime_error(path + ": cannot be locked: " + std::strerror(reason));
  throw FolderInUse(folder + ": expected a folder that no other process works in, found it in use" +
                    (known ? " by process " + std::to_string(lock.l_pid) : ""));
}

bool FolderLock::IsHeldElsewhere(const std::string& folder) {
  const int file = open((folder + "/lock").c_str(), O_RDWR | O_CLOEXEC);
  if (file < 0) return false;
  struct flock lock = {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  const bool held = fcntl(file, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
  close(file);
  return held;
}

FolderLock::~FolderLock() { close(file_); }

}  // namespace cosdt::agents
