#include "datasets/file_descriptor.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

namespace cosdt::datasets {
namespace {

// `step(offset, done)` is pread or pwrite of what is left.
template <typename Step>
size_t Repeat(uint64_t offset, size_t size, const Step& step) {
  size_t done = 0;
  errno = 0;
  while (done < size) {
    const ssize_t n = step(static_cast<off_t>(offset + done), done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    done += static_cast<size_t>(n);
  }
  return done;
}

}  // namespace

FileDescriptor::FileDescriptor(const std::string& path, int flags)
    : value_(open(path.c_str(), flags | O_CLOEXEC, 0666)) {}

FileDescriptor& FileDescriptor::operator=(FileDescriptor&& other) noexcept {
  std::swap(value_, other.value_);
  return *this;
}

FileDescriptor::~FileDescriptor() {
  if (value_ >= 0) close(value_);
}

size_t FileDescriptor::ReadAt(uint64_t offset, void* to, size_t size) const {
  return Repeat(offset, size, [&](off_t at, size_t done) {
    return pread(value_, static_cast<char*>(to) + done, size - done, at);
  });
}

size_t FileDescriptor::WriteAt(uint64_t offset, const void* from, size_t size) const {
  return Repeat(offset, size, [&](off_t at, size_t done) {
    return pwrite(value_, static_cast<const char*>(from) + done, size - done, at);
  });
}

}  // namespace cosdt::datasets
