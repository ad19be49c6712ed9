#include "experiments/program/version.h"

#include <hdf5.h>
#include <torch/version.h>

#include "envs/model.h"
#include "experiments/program/cuda_runtime.h"

namespace cosdt::experiments {

std::string TorchVersion() { return TORCH_VERSION; }

std::string VersionText() {
  unsigned major = 0, minor = 0, patch = 0;
  H5get_libversion(&major, &minor, &patch);
  const std::string hdf5 =
      std::to_string(major) + "." + std::to_string(minor) + "." + std::to_string(patch);
  const std::string& cuda = TheCudaRuntime().toolkit;
  return "cosdt " COSDT_VERSION "\nLibTorch " + TorchVersion() + "\nMuJoCo " +
         envs::MujocoVersion() + "\nHDF5 " + hdf5 + "\nCUDA " + (cuda.empty() ? "none" : cuda);
}

}  // namespace cosdt::experiments
