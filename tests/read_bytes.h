#pragma once

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

namespace cosdt {

// All of a file; "" if there is none.
inline std::string ReadBytes(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace cosdt
