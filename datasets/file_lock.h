#pragma once

#include <string>

namespace cosdt::datasets {

// Whether an attempt to lock a file failed with `error` because its file system has no locks
// (Lustre without -o flock, NFS without lockd, FUSE), not because another process holds one.
bool HasNoLocks(int error);

// Says on standard error, once per process, that `path` is used without a lock, and why.
void WarnWithoutLock(const std::string& path, int error);

}  // namespace cosdt::datasets
