#pragma once

#include <cstdint>
#include <string>

namespace cosdt::datasets {

class Hdf5File;

// Opens a file for HDF5's library, for reading; `descriptor` is the same file. If the file
// system has no locks, which HDF5 takes, it is opened without, with a warning (see file_lock.h).
// Returns HDF5's identifier, or one below 0. The caller holds Hdf5Mutex.
int64_t OpenUnderLock(const std::string& path, int descriptor);

// Why HDF5's library did not open a file, for a message's "found ..": what it is instead ("a web
// page"), what it lacks ("64048 of 128096 bytes"), who holds it. `descriptor` is that of the file,
// or -1 if it is in memory; of `file`, only path, file_size and ReadBytes are used.
std::string WhyNotOpened(const Hdf5File& file, int descriptor);

// If the last call of HDF5's library failed at a version number that it does not know: that, for
// a message's "found ..", else "".
std::string WhyNewer();

}  // namespace cosdt::datasets
