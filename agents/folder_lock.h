#pragma once

#include <string>

namespace cosdt::agents {

// A run's folder, kept to one process by a lock of the kernel on FOLDER/lock, which ends with the
// process however it ends.
class FolderLock {
 public:
  // Makes the folder where it is missing. Throws std::runtime_error where it cannot be written or
  // another process has it, which is named.
  explicit FolderLock(const std::string& folder);
  ~FolderLock();
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  int file_;
};

}  // namespace cosdt::agents
