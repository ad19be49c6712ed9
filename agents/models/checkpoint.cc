#include "agents/models/checkpoint.h"

#include <charconv>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "agents/models/target_json.h"
#include "datasets/file_error.h"

namespace cosdt::agents {
namespace {

using datasets::FileError;
using nlohmann::json;
using torch::Tensor;

constexpr char kFormat[] = "cosdt-checkpoint-1";
constexpr char kPrefix[] = "model.";
constexpr char kPredictorPrefix[] = "return_predictor.";

// Calls visit(name, tensor) for every parameter and buffer.
template <class Visit>
void VisitWeights(const std::string& prefix, const torch::nn::Module& module, const Visit& visit) {
  for (const auto& entry : module.named_parameters()) visit(prefix + entry.key(), entry.value());
  for (const auto& entry : module.named_buffers()) visit(prefix + entry.key(), entry.value());
}

void AddWeightsAs(const std::string& prefix, const torch::nn::Module& module, Safetensors& file) {
  VisitWeights(prefix, module, [&](const std::string& name, const Tensor& tensor) {
    file.tensors[name] = tensor.detach();
  });
}

// Throws FileError if one is missing or has another shape, or if the file has more of the prefix.
void LoadWeightsAs(const std::string& prefix, const std::string& path, const Safetensors& file,
                   const torch::nn::Module& module) {
  const torch::NoGradGuard no_grad;
  std::set<std::string> known;
  VisitWeights(prefix, module, [&](const std::string& name, Tensor tensor) {
    tensor.copy_(file.Get(path, name, tensor.sizes(), tensor.scalar_type()));
    known.insert(name);
  });
  for (const auto& [name, tensor] : file.tensors) {
    if (name.starts_with(prefix) && !known.contains(name)) {
      throw FileError(path, name, "no such weight in this agent", c10::str(tensor.sizes()));
    }
  }
}

std::string Text(const std::string& path, const Safetensors& file, const std::string& key) {
  const auto found = file.metadata.find(key);
  if (found == file.metadata.end()) throw FileError(path, "metadata " + key, "a string", "none");
  return found->second;
}

// A value in JSON of type T.
template <class T>
T Value(const std::string& path, const Safetensors& file, const std::string& key,
        const char* expected) {
  const std::string text = Text(path, file, key);
  try {
    const json found = json::parse(text);
    T value = found.get<T>();
    if (json(value) == found) return value;  // JSON's own conversions round and wrap around
    throw FileError(path, "metadata " + key, expected, text);
  } catch (const json::exception&) {
    throw FileError(path, "metadata " + key, expected, text);
  }
}

Tensor ToTensor(const std::vector<float>& values) { return torch::tensor(values); }

std::vector<float> FloatValues(const std::string& path, const Safetensors& file,
                               const std::string& key, int64_t size) {
  const Tensor tensor = file.Get(path, key, {size}, torch::kFloat32);
  const float* const data = tensor.const_data_ptr<float>();
  return {data, data + size};
}

// Null if the file has none.
std::shared_ptr<const ReturnPredictor> ReadPredictor(const std::string& path,
                                                     const Safetensors& file,
                                                     const AgentOptions& options) {
  const auto first = file.tensors.lower_bound(kPredictorPrefix);
  if (first == file.tensors.end() || !first->first.starts_with(kPredictorPrefix)) return nullptr;
  const auto predictor =
      std::make_shared<ReturnPredictor>(options.observation_size(), options.max_timestep());
  LoadWeightsAs(kPredictorPrefix, path, file, predictor->module());
  return predictor;
}

}  // namespace

void AddWeights(const torch::nn::Module& module, Safetensors& file) {
  AddWeightsAs(kPrefix, module, file);
}

void LoadWeights(const std::string& path, const Safetensors& file, torch::nn::Module& module) {
  LoadWeightsAs(kPrefix, path, file, module);
}

void WriteCheckpoint(const std::string& path, const Agent& agent, const CheckpointInfo& info) {
  Safetensors file;
  AddWeights(agent.module(), file);
  if (info.return_predictor) {
    AddWeightsAs(kPredictorPrefix, info.return_predictor->module(), file);
  }
  file.tensors["normalizer.mean"] = ToTensor(info.normalizer.mean);
  file.tensors["normalizer.std"] = ToTensor(info.normalizer.std);
  file.metadata = {
      {"format", kFormat},
      {"agent", ToJson(agent.options())},
      {"env", info.env},
      {"physics", info.physics},
      {"dataset", info.dataset},
      {"dataset_sha256", info.dataset_sha256},
      {"targets", json(info.targets).dump()},
      {"return_scale", json(info.return_scale).dump()},
      {"updates", json(info.updates).dump()},
      {"run", info.run},
  };
  if (!info.critic.empty()) {
    file.metadata["critic"] = info.critic;
    file.metadata["critic_sha256"] = info.critic_sha256;
    file.metadata["critic_run"] = info.critic_run;
  }
  WriteSafetensors(path, file);
}

Checkpoint ReadCheckpoint(const std::string& path) {
  const Safetensors file = ReadSafetensors(path);
  const auto format = file.metadata.find("format");
  if (format == file.metadata.end() || format->second != kFormat) {
    throw FileError(path, "metadata format", kFormat,
                    format == file.metadata.end() ? "none" : format->second);
  }
  const AgentOptions options = ParseAgentOptions(path, Text(path, file, "agent"));
  file.ExpectElements(path, "metadata agent", options.WeightCount());
  Checkpoint checkpoint{MakeAgent(options), {}};
  LoadWeights(path, file, checkpoint.agent->module());
  checkpoint.agent->module().eval();
  CheckpointInfo& info = checkpoint.info;
  const int64_t size = checkpoint.agent->options().observation_size();
  info.normalizer.mean = FloatValues(path, file, "normalizer.mean", size);
  info.normalizer.std = FloatValues(path, file, "normalizer.std", size);
  info.env = Text(path, file, "env");
  info.physics = Text(path, file, "physics");
  info.dataset = Text(path, file, "dataset");
  info.dataset_sha256 = Text(path, file, "dataset_sha256");
  info.targets =
      Value<std::vector<Target>>(path, file, "targets", "a list of numbers and \"auto\"");
  info.return_scale = Value<double>(path, file, "return_scale", "a number");
  info.updates = Value<int64_t>(path, file, "updates", "a whole number");
  info.run = Text(path, file, "run");
  if (file.metadata.contains("critic")) {
    info.critic = Text(path, file, "critic");
    info.critic_sha256 = Text(path, file, "critic_sha256");
    info.critic_run = Text(path, file, "critic_run");
  }
  info.return_predictor = ReadPredictor(path, file, checkpoint.agent->options());
  if (!(info.return_scale > 0)) {
    throw FileError(path, "metadata return_scale", "a positive number",
                    std::to_string(info.return_scale));
  }
  return checkpoint;
}

}  // namespace cosdt::agents
