// The part of device.h that asks CUDA itself. Compiled in builds with CUDA alone.
#include <cuda_runtime_api.h>

#include <stdexcept>

#include "experiments/program/cuda_runtime.h"

namespace cosdt::experiments {
namespace {

std::string VersionName(int version) {  // as CUDA counts: 13000
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

void Check(cudaError_t error) {
  if (error != cudaSuccess) throw std::runtime_error(cudaGetErrorString(error));
}

int DeviceCount() {
  int count = 0;
  Check(cudaGetDeviceCount(&count));
  return count;
}

std::string Problem() {
  int driver = 0;
  Check(cudaDriverGetVersion(&driver));
  if (driver == 0) return "no NVIDIA driver is loaded";
  // a driver runs what any minor version of its CUDA made
  if (driver / 1000 < CUDART_VERSION / 1000) {
    return "the driver knows CUDA up to " + VersionName(driver) + ", this build is of CUDA " +
           VersionName(CUDART_VERSION) + " and needs a newer driver";
  }
  int count = 0;
  if (const cudaError_t error = cudaGetDeviceCount(&count); error != cudaSuccess) {
    return cudaGetErrorString(error);
  }
  return count == 0 ? "the driver shows none (CUDA_VISIBLE_DEVICES?)" : "";
}

int Attribute(cudaDeviceAttr attribute, int index) {
  int value = 0;
  Check(cudaDeviceGetAttribute(&value, attribute, index));
  return value;
}

int ComputeCapability(int index) {
  return 10 * Attribute(cudaDevAttrComputeCapabilityMajor, index) +
         Attribute(cudaDevAttrComputeCapabilityMinor, index);
}

std::string Name(int index) {
  cudaDeviceProp properties;
  Check(cudaGetDeviceProperties(&properties, index));
  return properties.name;
}

const bool registered = [] {
  CudaRuntime& runtime = TheCudaRuntime();
  runtime.toolkit = VersionName(CUDART_VERSION);
  runtime.problem = Problem;
  runtime.device_count = DeviceCount;
  runtime.compute_capability = ComputeCapability;
  runtime.name = Name;
  return true;
}();

}  // namespace
}  // namespace cosdt::experiments
