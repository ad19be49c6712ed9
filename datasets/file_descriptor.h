#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

namespace cosdt::datasets {

// The descriptor of an open file, closed at the end of its scope.
class FileDescriptor {
 public:
  FileDescriptor() = default;

  // Takes over what open(2) and its kind returned: below 0 is none.
  explicit FileDescriptor(int value) : value_(value) {}

  // open(2) with O_CLOEXEC and mode 0666. No file is open if that failed; errno says why.
  FileDescriptor(const std::string& path, int flags);

  FileDescriptor(FileDescriptor&& other) noexcept : value_(std::exchange(other.value_, -1)) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept;
  ~FileDescriptor();

  bool is_open() const { return value_ >= 0; }
  operator int() const { return value_; }

  // Reads or writes `size` bytes at `offset`, from any thread, and returns how many were: fewer at
  // the file's end, which leaves errno 0, and after an error, which sets it.
  size_t ReadAt(uint64_t offset, void* to, size_t size) const;
  size_t WriteAt(uint64_t offset, const void* from, size_t size) const;

 private:
  int value_ = -1;
};

}  // namespace cosdt::datasets
