// The type of matrix products, by the names that options have for it.
#pragma once

#include <torch/torch.h>

#include <string>

namespace cosdt::agents {

// fp32 or bf16. Throws std::invalid_argument for another name.
torch::ScalarType ParsePrecision(const std::string& name);

// The type of training by fp32, tf32 or bf16. tf32, float32 whose products on a GPU are of numbers
// with 10 bits behind the point, throws std::invalid_argument for the CPU.
torch::ScalarType ParseTrainingPrecision(const std::string& name, const torch::Device& device);

// Throws std::invalid_argument for a name that ParseTrainingPrecision does not know.
void CheckTrainingPrecision(const std::string& name);

// ParsePrecision the other way round.
std::string PrecisionName(torch::ScalarType type);

}  // namespace cosdt::agents
