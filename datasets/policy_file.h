#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "datasets/hdf5_file.h"
#include "datasets/hdf5_writer.h"

namespace cosdt::datasets {

// One fully connected layer: weight is [outputs, inputs] in row-major order, bias is [outputs].
struct LinearWeights {
  int inputs = 0;
  int outputs = 0;
  std::vector<float> weight;
  std::vector<float> bias;
};

// A policy as D4RL keeps it under metadata/policy of its expert and medium files: two hidden ReLU
// layers, then a head for the mean and one for the log standard deviation of a tanh Gaussian.
struct PolicyWeights {
  LinearWeights fc0;
  LinearWeights fc1;
  LinearWeights last_fc;
  LinearWeights last_fc_log_std;

  int observation_size() const { return fc0.inputs; }
  int action_size() const { return last_fc.outputs; }
};

// Reads a file's metadata/policy. Throws FileError if a key is missing, shapes do not fit
// each other, a value is not finite, or the nonlinearity or distribution is not "relu" and
// "tanh_gaussian".
PolicyWeights ReadPolicy(const Hdf5File& file);

// Writes the keys that ReadPolicy reads. Throws std::runtime_error.
void WritePolicy(const PolicyWeights& policy, Hdf5Writer& writer);

// metadata/algorithm and metadata/iteration: what trained a policy, and for how long.
struct PolicyOrigin {
  std::string algorithm = "unknown";
  int32_t iteration = 0;
};

// Reads the origin stored with a policy; a missing key keeps its default. Throws FileError.
PolicyOrigin ReadPolicyOrigin(const Hdf5File& file);

// Keeps the policy that made a dataset, with its origin, in the dataset's file. Throws FileError
// and std::runtime_error.
void CopyPolicy(const Hdf5File& from, Hdf5Writer& writer);

}  // namespace cosdt::datasets
