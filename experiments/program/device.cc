#include "experiments/program/device.h"

#include <ATen/DeviceAccelerator.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <stdexcept>

#include "experiments/program/cuda_runtime.h"

namespace cosdt::experiments {
namespace {

[[noreturn]] void Refuse(const std::string& name, const std::string& why) {
  throw std::invalid_argument("device " + name + ": " + why);
}

// N of cuda:N, 0 of cuda; -1 for what is neither.
int CudaIndex(const std::string& name) {
  if (name == "cuda") return 0;
  constexpr std::string_view kPrefix = "cuda:";
  int index = -1;
  if (!name.starts_with(kPrefix) || name.ends_with('-')) return -1;
  const char* const end = name.data() + name.size();
  const auto [rest, error] = std::from_chars(name.data() + kPrefix.size(), end, index);
  return error == std::errc() && rest == end && index >= 0 ? index : -1;
}

std::string DeviceNameError(const std::string& name) {
  if (name == "cpu" || name == "auto" || CudaIndex(name) >= 0) return "";
  return "expected cpu, cuda, cuda:N or auto, found " + name;
}

// Why this device cannot be used, or "".
std::string Obstacle(const std::string& name, int index) {
  const CudaRuntime& cuda = TheCudaRuntime();
  if (cuda.toolkit.empty()) {
    return "expected a build with CUDA (configured with COSDT_CUDA=ON), found one without";
  }
  if (const std::string problem = cuda.problem(); !problem.empty()) {
    return "expected a GPU that can be used, found none: " + problem;
  }
  if (const int count = cuda.device_count(); index >= count) {
    return "expected " +
           (count == 1 ? std::string("cuda:0, the only GPU")
                       : "cuda:0 to cuda:" + std::to_string(count - 1)) +
           ", found " + name;
  }
  if (const int found = cuda.compute_capability(index); found < kMinComputeCapability) {
    const auto text = [](int number) {
      return std::to_string(number / 10) + "." + std::to_string(number % 10);
    };
    return "expected compute capability " + text(kMinComputeCapability) + " or more, found " +
           text(found) + " (" + cuda.name(index) + ")";
  }
  return "";
}

// "1.50 GiB" behind `before` in LibTorch's message, or "".
std::string Amount(const std::string& message, const std::string& before) {
  const size_t begin = message.find(before);
  if (begin == std::string::npos) return "";
  const size_t from = begin + before.size(), unit = message.find(' ', from) + 1;
  return message.substr(from, message.find_first_of(" .", unit) - from);
}

}  // namespace

CudaRuntime& TheCudaRuntime() {
  static CudaRuntime runtime;
  return runtime;
}

c10::Device ResolveDevice(const std::string& name, int local_rank) {
  if (name == "cpu") return c10::kCPU;
  if (const std::string error = DeviceNameError(name); !error.empty()) Refuse(name, error);
  std::string own = name;
  if (local_rank > 0 && (name == "auto" || name == "cuda") && Obstacle(name, 1).empty()) {
    own = "cuda:" + std::to_string(local_rank);
  }
  const int index = own == "auto" ? 0 : CudaIndex(own);
  if (const std::string obstacle = Obstacle(own, index); !obstacle.empty()) {
    if (own != "auto") Refuse(own, obstacle);
    if (!TheCudaRuntime().toolkit.empty()) {
      std::fprintf(stderr, "cosdt: device auto is the CPU: %s\n", obstacle.c_str());
    }
    return c10::kCPU;
  }
  const auto number = static_cast<c10::DeviceIndex>(index);
  at::accelerator::setDeviceIndex(number);
  return {c10::kCUDA, number};
}

void AddDeviceOption(CLI::App& command, std::string& name, const std::string& what) {
  command.add_option("--device", name, what + ": cpu, cuda, cuda:N or auto")
      ->check(DeviceNameError)
      ->capture_default_str();
}

void ExpectPrecisionOf(const std::string& precision, const c10::Device& device) {
  if (precision != "tf32" || device.is_cuda()) return;
  throw std::invalid_argument("precision: tf32 expects a GPU (--device cuda), found " +
                              device.str());
}

void ResetPeakDeviceMemory(const c10::Device& device) {
  if (!device.is_cpu()) at::accelerator::resetPeakStats(device.index());
}

DeviceUse UseOf(const c10::Device& device) {
  if (device.is_cpu()) return {};
  const auto stats = at::accelerator::getDeviceStats(device.index());
  const auto all = static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE);
  return {device.str() + " (" + TheCudaRuntime().name(device.index()) + ")",
          static_cast<uint64_t>(stats.reserved_bytes[all].peak)};
}

std::string OneLine(const std::string& torch_error) {
  const std::string first = torch_error.substr(0, torch_error.find('\n'));
  if (first.find("out of memory") == std::string::npos &&
      first.find("CUBLAS_STATUS_ALLOC_FAILED") == std::string::npos) {
    return first;
  }
  const std::string asked = Amount(torch_error, "Tried to allocate "),
                    all = Amount(torch_error, "a total capacity of "),
                    available = Amount(torch_error, " of which ");
  std::string line = "out of memory on the GPU";
  if (!asked.empty()) line += ": expected " + asked + " more";
  if (!available.empty()) line += ", found " + available + " of " + all + " free";
  return line + "; a smaller --batch-size or --context takes less, as does another process's end";
}

}  // namespace cosdt::experiments
