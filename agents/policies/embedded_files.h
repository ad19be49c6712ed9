#pragma once

#include <cstdint>
#include <span>

namespace cosdt::agents {

// A file that is part of the program (cosdt_embed_files in cmake/CosdtBuild.cmake).
struct EmbeddedFile {
  const char* name;  // without its ending
  std::span<const uint8_t> bytes;
};

// The policies of demo_policies/.
std::span<const EmbeddedFile> EmbeddedFiles();

}  // namespace cosdt::agents
