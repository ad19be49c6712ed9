// The device that a command computes on, by the name that --device gives it.
#pragma once

#include <c10/core/Device.h>

#include <CLI/CLI.hpp>
#include <string>

#include "experiments/program/device_use.h"

namespace cosdt::experiments {

// The CUDA kernels need compute capability 8.0.
inline constexpr int kMinComputeCapability = 80;

// cpu; cuda or cuda:N, a GPU; auto, the first GPU if it can be used, else the CPU (a build with
// CUDA prints why to stderr). Of several processes on a host, each with its `local_rank`, cuda and
// auto are a GPU each, if more than one is there (launchers may show each process its own). A GPU
// becomes LibTorch's current device, so that no other one is touched. Throws std::invalid_argument
// in one line: another name, a build without CUDA, no GPU or a driver older than the toolkit, an
// index that does not exist, a card that is too old.
c10::Device ResolveDevice(const std::string& name, int local_rank = 0);

// --device; `what` is computed there.
void AddDeviceOption(CLI::App& command, std::string& name, const std::string& what);

// Throws std::invalid_argument for tf32 without a GPU.
void ExpectPrecisionOf(const std::string& precision, const c10::Device& device);

// Resets the peak that UseOf returns. Does nothing on the CPU.
void ResetPeakDeviceMemory(const c10::Device& device);

// The device by name, and the peak of its memory since the last reset (none on the CPU).
DeviceUse UseOf(const c10::Device& device);

// An error of LibTorch in one line. If a GPU is out of memory: what was requested, how much was
// free and which options take less.
std::string OneLine(const std::string& torch_error);

}  // namespace cosdt::experiments
