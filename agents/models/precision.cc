#include "agents/models/precision.h"

#include <stdexcept>

#include "agents/kernels/gemm.h"

namespace cosdt::agents {

torch::ScalarType ParsePrecision(const std::string& name) {
  if (name == "fp32") return torch::kFloat32;
  if (name == "bf16") return torch::kBFloat16;
  throw std::invalid_argument("precision: expected fp32 or bf16, found " + name);
}

void CheckTrainingPrecision(const std::string& name) {
  if (name == "fp32" || name == "tf32" || name == "bf16") return;
  throw std::invalid_argument("precision: expected fp32, tf32 or bf16, found " + name);
}

torch::ScalarType ParseTrainingPrecision(const std::string& name, const torch::Device& device) {
  CheckTrainingPrecision(name);
  if (name == "tf32" && device.is_cpu()) {
    throw std::invalid_argument("precision: expected fp32 or bf16 on the CPU, found tf32");
  }
  return name == "bf16" ? torch::kBFloat16 : torch::kFloat32;
}

torch::ScalarType CpuComputeType(torch::ScalarType type) {
  return type == torch::kBFloat16 && !kernels::BFloat16IsFaster() ? torch::kFloat32 : type;
}

std::string PrecisionName(torch::ScalarType type) {
  return type == torch::kBFloat16 ? "bf16" : "fp32";
}

}  // namespace cosdt::agents
