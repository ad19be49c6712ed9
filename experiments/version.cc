#include <hdf5.h>
#include <torch/version.h>

#include "experiments/program.h"

namespace cosdt::experiments {

std::string TorchVersion() { return TORCH_VERSION; }

std::string VersionText() {
  unsigned major = 0, minor = 0, patch = 0;
  H5get_libversion(&major, &minor, &patch);
  const std::string hdf5 =
      std::to_string(major) + "." + std::to_string(minor) + "." + std::to_string(patch);
#ifdef COSDT_CUDA_VERSION
  const std::string cuda = COSDT_CUDA_VERSION;
#else
  const std::string cuda = "none";
#endif
  return "cosdt " COSDT_VERSION "\nLibTorch " + TorchVersion() + "\nMuJoCo " +
         envs::MujocoVersion() + "\nHDF5 " + hdf5 + "\nCUDA " + cuda;
}

}  // namespace cosdt::experiments
