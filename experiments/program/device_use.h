#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "experiments/program/json_optional.h"

namespace cosdt::experiments {

// The device that a computation used. Members are named as their JSON keys are.
struct DeviceUse {
  std::string device = "cpu";                  // or "cuda:0 (NVIDIA H100 80GB HBM3)"
  std::optional<uint64_t> peak_device_memory;  // bytes that LibTorch held of the GPU at once
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(DeviceUse, device, peak_device_memory)

}  // namespace cosdt::experiments
