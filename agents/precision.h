// The type of matrix products, by the names that options have for it.
#pragma once

#include <torch/torch.h>

#include <string>

namespace cosdt::agents {

// fp32 or bf16. Throws std::invalid_argument for another name.
torch::ScalarType ParsePrecision(const std::string& name);

// The other way round.
std::string PrecisionName(torch::ScalarType type);

}  // namespace cosdt::agents
