#include "datasets/atomic_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <stdexcept>
#include <utility>
#include <vector>

namespace cosdt::datasets {
namespace {

[[noreturn]] void Fail(const std::string& path, const char* what) {
  throw std::runtime_error(path + ": " + what + " failed: " + std::strerror(errno));
}

bool Sync(const std::string& path) {
  const FileDescriptor file(path, O_RDONLY);
  return file.is_open() && fsync(file) == 0;
}

}  // namespace

AtomicFile::AtomicFile(std::string path)
    : path_(std::move(path)), temporary_(path_ + "." + std::to_string(getpid()) + ".tmp") {
  std::error_code none;
  if (std::filesystem::is_directory(path_, none)) {
    throw std::runtime_error(path_ + ": expected a file to write, found a folder");
  }
}

AtomicFile::~AtomicFile() { unlink(temporary_.c_str()); }

void AtomicFile::Append(const void* data, size_t size) {
  if (!file_.is_open()) file_ = FileDescriptor(temporary_, O_WRONLY | O_CREAT | O_TRUNC);
  if (!file_.is_open() || file_.WriteAt(size_, data, size) < size) Fail(path_, "writing");
  size_ += size;
}

void AtomicFile::Commit() {
  file_ = FileDescriptor();
  RenameSynced(temporary_, path_);
}

void WriteFile(const std::string& path, std::string_view bytes) {
  AtomicFile file(path);
  file.Append(bytes.data(), bytes.size());
  file.Commit();
}

void RenameSynced(const std::string& from, const std::string& to) {
  if (!Sync(from)) Fail(to, "syncing");
  if (std::rename(from.c_str(), to.c_str()) != 0) Fail(to, "renaming to the final name");
  const std::string folder = std::filesystem::path(to).parent_path();
  if (!Sync(folder.empty() ? "." : folder)) Fail(to, "syncing the folder");
}

void RemoveTemporaries(const std::string& folder) {
  std::vector<std::filesystem::path> left;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::filesystem::path& path = entry.path();
    const std::string process = path.stem().extension().string();
    if (entry.is_regular_file() && path.extension() == ".tmp" && process.size() > 1 &&
        process.find_first_not_of("0123456789", 1) == std::string::npos) {
      left.push_back(path);
    }
  }
  for (const std::filesystem::path& path : left) std::filesystem::remove(path);
}

}  // namespace cosdt::datasets
