#include "datasets/policy_file.h"

#include <algorithm>
#include <cmath>

#include "datasets/hdf5_file.h"

namespace cosdt::datasets {
namespace {

constexpr char kRoot[] = "metadata/policy/";
constexpr uint64_t kWidestLayer = 1 << 16;  // keeps a damaged size from asking for all memory

LinearWeights ReadLayer(const Hdf5File& file, const std::string& name) {
  const std::string key = kRoot + name;
  const std::vector<uint64_t> shape = file.Shape(key + "/weight");
  if (shape.size() != 2 || shape[0] < 1 || shape[1] < 1 || shape[0] > kWidestLayer ||
      shape[1] > kWidestLayer) {
    throw FileError(file.path(), key + "/weight", "a matrix of a layer's size", ShapeString(shape));
  }
  LinearWeights layer;
  layer.outputs = static_cast<int>(shape[0]);
  layer.inputs = static_cast<int>(shape[1]);
  layer.weight = file.ReadFloats(key + "/weight", shape);
  layer.bias = file.ReadFloats(key + "/bias", {shape[0]});
  const auto finite = [](float x) { return std::isfinite(x); };
  if (!std::ranges::all_of(layer.weight, finite) || !std::ranges::all_of(layer.bias, finite)) {
    throw FileError(file.path(), key, "finite weights", "NaN or infinity");
  }
  return layer;
}

void ExpectInputs(const Hdf5File& file, const std::string& name, const LinearWeights& layer,
                  int outputs_before) {
  if (layer.inputs == outputs_before) return;
  throw FileError(file.path(), kRoot + name + "/weight",
                  std::to_string(outputs_before) + " columns", std::to_string(layer.inputs));
}

void ExpectString(const Hdf5File& file, const std::string& name, const std::string& expected) {
  const std::string found = file.ReadString(kRoot + name);
  if (found != expected) throw FileError(file.path(), kRoot + name, expected, found);
}

}  // namespace

PolicyWeights ReadPolicy(const Hdf5File& file) {
  ExpectString(file, "nonlinearity", "relu");
  ExpectString(file, "output_distribution", "tanh_gaussian");
  PolicyWeights policy;
  policy.fc0 = ReadLayer(file, "fc0");
  policy.fc1 = ReadLayer(file, "fc1");
  policy.last_fc = ReadLayer(file, "last_fc");
  policy.last_fc_log_std = ReadLayer(file, "last_fc_log_std");
  ExpectInputs(file, "fc1", policy.fc1, policy.fc0.outputs);
  ExpectInputs(file, "last_fc", policy.last_fc, policy.fc1.outputs);
  ExpectInputs(file, "last_fc_log_std", policy.last_fc_log_std, policy.fc1.outputs);
  if (policy.last_fc.outputs != policy.last_fc_log_std.outputs) {
    throw FileError(file.path(), std::string(kRoot) + "last_fc_log_std/weight",
                    std::to_string(policy.last_fc.outputs) + " rows",
                    std::to_string(policy.last_fc_log_std.outputs));
  }
  return policy;
}

void WritePolicy(const PolicyWeights& policy, Hdf5Writer& writer) {
  const auto write = [&](const std::string& name, const LinearWeights& layer) {
    const auto inputs = static_cast<uint64_t>(layer.inputs);
    const auto outputs = static_cast<uint64_t>(layer.outputs);
    writer.Array(kRoot + name + "/weight", {outputs, inputs}, layer.weight);
    writer.Array(kRoot + name + "/bias", {outputs}, layer.bias);
  };
  write("fc0", policy.fc0);
  write("fc1", policy.fc1);
  write("last_fc", policy.last_fc);
  write("last_fc_log_std", policy.last_fc_log_std);
  writer.Text(std::string(kRoot) + "nonlinearity", "relu");
  writer.Text(std::string(kRoot) + "output_distribution", "tanh_gaussian");
}

PolicyOrigin ReadPolicyOrigin(const Hdf5File& file) {
  PolicyOrigin origin;
  if (file.Has("metadata/algorithm")) origin.algorithm = file.ReadString("metadata/algorithm");
  if (file.Has("metadata/iteration")) {
    origin.iteration = static_cast<int32_t>(file.ReadInteger("metadata/iteration"));
  }
  return origin;
}

void CopyPolicy(const Hdf5File& from, Hdf5Writer& writer) {
  const PolicyOrigin origin = ReadPolicyOrigin(from);
  writer.Text("metadata/algorithm", origin.algorithm);
  writer.Integer("metadata/iteration", origin.iteration);
  WritePolicy(ReadPolicy(from), writer);
}

}  // namespace cosdt::datasets
