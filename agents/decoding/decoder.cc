#include "agents/decoding/decoder.h"

#include <stdexcept>

namespace cosdt::agents {

std::string DecodeModeName(DecodeMode mode) {
  switch (mode) {
    case DecodeMode::kWindow:
      return "window";
    case DecodeMode::kRecurrent:
      return "recurrent";
    case DecodeMode::kStaggered:
      break;
  }
  return "staggered";
}

DecodeMode ParseDecodeMode(const std::string& name) {
  for (const DecodeMode mode : kAllDecodeModes) {
    if (DecodeModeName(mode) == name) return mode;
  }
  throw std::invalid_argument("decode: expected window, recurrent or staggered, found " + name);
}

}  // namespace cosdt::agents
