#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "datasets/file_descriptor.h"

namespace cosdt::datasets {

// A file that appears as a whole: it grows under a temporary name in its folder (PATH.PID.tmp),
// and Commit gives it its name, replacing what was there. A kill or a loss of power leaves the old
// file or the new one. Everything throws std::runtime_error with the path if writing fails.
class AtomicFile {
 public:
  // Makes no file yet. Refuses a folder's path.
  explicit AtomicFile(std::string path);

  // Removes the temporary file if Commit was not reached.
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  const std::string& path() const { return path_; }

  // For what writes files by name: HDF5's library, other programs.
  const std::string& temporary() const { return temporary_; }

  // Adds bytes to the temporary file's end; the first call makes it.
  void Append(const void* data, size_t size);

  // Syncs the temporary file and renames it.
  void Commit();

 private:
  std::string path_;
  std::string temporary_;
  FileDescriptor file_;  // open from the first Append to Commit
  uint64_t size_ = 0;
};

// Replaces the file `path` by one of these bytes, as AtomicFile does.
void WriteFile(const std::string& path, std::string_view bytes);

// Renames a complete file: its bytes reach the disk before its name does, and that before this
// returns. Throws std::runtime_error with the name `to` if that fails.
void RenameSynced(const std::string& from, const std::string& to);

// Removes what killed processes left in a folder that no other process works in: the temporary
// files NAME.PID.tmp.
void RemoveTemporaries(const std::string& folder);

}  // namespace cosdt::datasets
