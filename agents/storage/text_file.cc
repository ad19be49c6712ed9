#include "agents/storage/text_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <vector>

namespace cosdt::agents {

namespace {

// The bytes reach the disk before the name does, or a crash of the machine could leave an empty
// file.
bool Sync(const std::string& path) {
  const int descriptor = open(path.c_str(), O_WRONLY | O_CLOEXEC);
  const bool synced = descriptor >= 0 && fsync(descriptor) == 0;
  const int error = errno;
  if (descriptor >= 0) close(descriptor);
  errno = error;
  return synced;
}

}  // namespace

void WriteTextFile(const std::string& path, std::string_view text) {
  const std::string temporary = path + ".tmp";
  errno = 0;
  std::ofstream file(temporary, std::ios::binary);
  file << text;
  file.close();
  if (!file || !Sync(temporary) || std::rename(temporary.c_str(), path.c_str()) != 0) {
    const int error = errno;
    std::remove(temporary.c_str());
    throw std::runtime_error(path + ": writing failed: " + std::strerror(error));
  }
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

}  // namespace cosdt::agents
