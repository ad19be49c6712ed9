// The device that a command computes on, by the name that --device gives it.
#pragma once

#include <c10/core/Device.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>
#include <string>

namespace cosdt::experiments {

// The CUDA kernels' instructions begin here: compute capability 8.0.
inline constexpr int kMinComputeCapability = 80;

// cpu; cuda or cuda:N, a GPU; auto, the first GPU where one can be used, else the CPU (why not is
// said on stderr where the build has CUDA). A GPU becomes LibTorch's current device, so that no
// other one is touched. Throws std::invalid_argument in one line: another name, a build without
// CUDA, no GPU or a driver older than the toolkit, an index that is not there, a card that is too
// old.
c10::Device ResolveDevice(const std::string& name);

// --device; `what` is computed there.
void AddDeviceOption(CLI::App& command, std::string& name, const std::string& what);

// Throws std::invalid_argument for tf32, which are a GPU's products, with another device.
void ExpectPrecisionOf(const std::string& precision, const c10::Device& device);

// Begins anew with the peak that DeviceReport tells. Nothing on the CPU.
void ResetPeakDeviceMemory(const c10::Device& device);

// What JSON says of a computation: device, "cpu" or "cuda:0 (NVIDIA H100 80GB HBM3)", and
// peak_device_memory, bytes that LibTorch held of the GPU at once (null on the CPU).
nlohmann::json DeviceReport(const c10::Device& device);

// An error of LibTorch in one line. A GPU's lack of memory says what was asked for, how much was
// free and what takes less.
std::string OneLine(const std::string& torch_error);

}  // namespace cosdt::experiments
