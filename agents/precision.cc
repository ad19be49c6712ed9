#include "agents/precision.h"

#include <stdexcept>

namespace cosdt::agents {

torch::ScalarType ParsePrecision(const std::string& name) {
  if (name == "fp32") return torch::kFloat32;
  if (name == "bf16") return torch::kBFloat16;
  throw std::invalid_argument("precision: expected fp32 or bf16, found " + name);
}

std::string PrecisionName(torch::ScalarType type) {
  return type == torch::kBFloat16 ? "bf16" : "fp32";
}

}  // namespace cosdt::agents
