#pragma once

#include <stdexcept>
#include <string>

#include "datasets/file_descriptor.h"

namespace cosdt::agents {

// Another process has the folder.
class FolderInUse : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// A run's folder, kept to one process by a lock of the kernel on FOLDER/lock, which ends with the
// process however it ends. A file system without locks keeps nobody out: a warning says so.
class FolderLock {
 public:
  // Makes the folder if it is missing. Throws FolderInUse, which names the other process, and
  // std::runtime_error if the folder cannot be written.
  explicit FolderLock(const std::string& folder);

  // Whether another process has the folder; takes nothing. False if there are no locks.
  static bool IsHeldElsewhere(const std::string& folder);

 private:
  datasets::FileDescriptor file_;
};

}  // namespace cosdt::agents
