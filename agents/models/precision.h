// The type of matrix products, by the names that options have for it.
#pragma once

#include <torch/torch.h>

#include <string>

namespace cosdt::agents {

// fp32 or bf16. Throws std::invalid_argument for another name.
torch::ScalarType ParsePrecision(const std::string& name);

// The type of training by fp32, tf32 or bf16. tf32, float32 whose factors a GPU rounds to 10 bits
// of mantissa, throws std::invalid_argument for the CPU.
torch::ScalarType ParseTrainingPrecision(const std::string& name, const torch::Device& device);

// Throws std::invalid_argument for a name that ParseTrainingPrecision does not know.
void CheckTrainingPrecision(const std::string& name);

// The type in which the CPU computes products that are asked for in `type`: float32 instead of
// bfloat16 if this processor is not faster in it (kernels::BFloat16IsFaster).
torch::ScalarType CpuComputeType(torch::ScalarType type);

// Inverse of ParsePrecision.
std::string PrecisionName(torch::ScalarType type);

}  // namespace cosdt::agents
