#pragma once

#include <exception>
#include <string>

#include "agents/models/checkpoint.h"

namespace cosdt::agents {

// What reading a checkpoint of this content throws, "" for nothing. Writes it to `path`.
inline std::string CheckpointError(const std::string& path, const Safetensors& file) {
  WriteSafetensors(path, file);
  try {
    ReadCheckpoint(path);
  } catch (const std::exception& e) {
    return e.what();
  }
  return "";
}

}  // namespace cosdt::agents
