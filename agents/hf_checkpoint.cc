#include "agents/hf_checkpoint.h"

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <stdexcept>
#include <utility>

#include "agents/safetensors.h"
#include "datasets/hdf5_file.h"

namespace cosdt::agents {
namespace {

using datasets::FileError;
using nlohmann::json;
using torch::Tensor;

// Where a parameter of ours is in their files; blocks' names follow their block's prefix.
struct Name {
  const char* ours;
  const char* theirs;
  bool transposed;  // theirs is a Conv1D: [inputs, outputs]
};
constexpr Name kNames[] = {
    {"embed_timestep.weight", "embed_timestep.weight", false},
    {"embed_return.weight", "embed_return.weight", false},
    {"embed_return.bias", "embed_return.bias", false},
    {"embed_observation.weight", "embed_state.weight", false},
    {"embed_observation.bias", "embed_state.bias", false},
    {"embed_action.weight", "embed_action.weight", false},
    {"embed_action.bias", "embed_action.bias", false},
    {"embed_norm.weight", "embed_ln.weight", false},
    {"embed_norm.bias", "embed_ln.bias", false},
    {"norm.weight", "encoder.ln_f.weight", false},
    {"norm.bias", "encoder.ln_f.bias", false},
    {"head.weight", "predict_action.0.weight", false},
    {"head.bias", "predict_action.0.bias", false},
};
constexpr Name kBlockNames[] = {
    {"norm_1.weight", "ln_1.weight", false},
    {"norm_1.bias", "ln_1.bias", false},
    {"attention_in.weight", "attn.c_attn.weight", true},
    {"attention_in.bias", "attn.c_attn.bias", false},
    {"attention_out.weight", "attn.c_proj.weight", true},
    {"attention_out.bias", "attn.c_proj.bias", false},
    {"norm_2.weight", "ln_2.weight", false},
    {"norm_2.bias", "ln_2.bias", false},
    {"mlp_in.weight", "mlp.c_fc.weight", true},
    {"mlp_in.bias", "mlp.c_fc.bias", false},
    {"mlp_out.weight", "mlp.c_proj.weight", true},
    {"mlp_out.bias", "mlp.c_proj.bias", false},
};

struct Pair {
  Tensor ours;
  std::string theirs;
  bool transposed;
};

// All parameters of the model with their names in transformers.
std::vector<Pair> Pairs(const DecisionTransformer& model) {
  const auto parameters = model->named_parameters();
  std::vector<Pair> pairs;
  for (const Name& name : kNames) {
    pairs.push_back({parameters[name.ours], name.theirs, name.transposed});
  }
  for (size_t i = 0; i < model->blocks.size(); ++i) {
    const std::string block = std::to_string(i) + ".";
    for (const Name& name : kBlockNames) {
      pairs.push_back({parameters["blocks." + block + name.ours],
                       "encoder.h." + block + name.theirs, name.transposed});
    }
  }
  return pairs;
}

constexpr double kNormEpsilon = 1e-5;
constexpr int64_t kPositions = 1024;  // rows of their unused position table, as in their default

json ReadConfig(const std::string& path) {
  std::ifstream file(path);
  if (!file) throw FileError(path, "", "a readable file", "none");
  json config = json::parse(file, nullptr, false);
  if (!config.is_object()) throw FileError(path, "", "an object in JSON", "none");
  return config;
}

}  // namespace

DecisionTransformer ImportHfCheckpoint(const std::string& folder, int64_t context) {
  const std::string config_path = (std::filesystem::path(folder) / "config.json").string();
  const std::string path = (std::filesystem::path(folder) / "model.safetensors").string();
  const json config = ReadConfig(config_path);
  // what the config leaves out has transformers' default
  const auto size = [&](const char* key, int64_t otherwise) {
    if (!config.contains(key)) return otherwise;
    if (!config[key].is_number_integer()) {
      throw FileError(config_path, key, "a whole number", config[key].dump());
    }
    return config[key].get<int64_t>();
  };
  const auto must_be = [&](const char* key, const json& expected) {
    if (config.contains(key) && !config[key].is_null() && config[key] != expected) {
      throw FileError(config_path, key, expected.dump(), config[key].dump());
    }
  };
  DecisionTransformerOptions options;
  options.observation_size = size("state_dim", 17);
  options.action_size = size("act_dim", 4);
  options.layers = size("n_layer", 3);
  options.heads = size("n_head", 1);
  options.width = size("hidden_size", 128);
  options.max_timestep = size("max_ep_len", 4096);
  options.context = context;
  options.activation = config.value("activation_function", json("relu")).dump();
  if (options.activation != "\"relu\"" && options.activation != "\"gelu\"") {
    throw FileError(config_path, "activation_function", "relu or gelu", options.activation);
  }
  options.activation = options.activation.substr(1, 4);
  const json dropout = config.value("resid_pdrop", json(0.1));
  if (!dropout.is_number()) throw FileError(config_path, "resid_pdrop", "a number", dropout.dump());
  options.dropout = dropout.get<double>();
  options.attention.kind = "softmax";
  must_be("action_tanh", true);
  must_be("scale_attn_weights", true);
  must_be("scale_attn_by_inverse_layer_idx", false);
  must_be("layer_norm_epsilon", kNormEpsilon);
  must_be("n_inner", 4 * options.width);

  DecisionTransformer model(options);
  const Safetensors file = ReadSafetensors(path);
  const torch::NoGradGuard no_grad;
  for (const Pair& pair : Pairs(model)) {
    const Tensor ours = pair.transposed ? pair.ours.t() : pair.ours;
    ours.copy_(file.Get(path, pair.theirs, ours.sizes(), torch::kFloat32));
  }
  const Tensor positions =
      file.Get(path, "encoder.wpe.weight", {size("n_positions", kPositions), options.width},
               torch::kFloat32);
  if (positions.size(0) > 0) model->embed_norm->bias += positions[0];
  return model;
}

void ExportHfCheckpoint(const DecisionTransformer& model, const std::string& folder) {
  const DecisionTransformerOptions& options = model->options();
  if (options.attention.kind != "softmax") {
    throw std::invalid_argument(
        "export: attention: expected softmax, the only kind transformers has, "
        "found " +
        options.attention.kind);
  }
  std::filesystem::create_directories(folder);
  Safetensors file;
  file.metadata["format"] = "pt";
  for (const Pair& pair : Pairs(model)) {
    file.tensors[pair.theirs] = (pair.transposed ? pair.ours.t() : pair.ours).to(torch::kFloat32);
  }
  file.tensors["encoder.wpe.weight"] = torch::zeros({kPositions, options.width});
  file.tensors["encoder.wte.weight"] = torch::zeros({1, options.width});
  file.tensors["predict_state.weight"] = torch::zeros({options.observation_size, options.width});
  file.tensors["predict_state.bias"] = torch::zeros({options.observation_size});
  file.tensors["predict_return.weight"] = torch::zeros({1, options.width});
  file.tensors["predict_return.bias"] = torch::zeros({1});
  WriteSafetensors((std::filesystem::path(folder) / "model.safetensors").string(), file);

  const json config = {
      {"architectures", {"DecisionTransformerModel"}},
      {"model_type", "decision_transformer"},
      {"state_dim", options.observation_size},
      {"act_dim", options.action_size},
      {"hidden_size", options.width},
      {"max_ep_len", options.max_timestep},
      {"action_tanh", true},
      {"vocab_size", 1},
      {"n_positions", kPositions},
      {"n_layer", options.layers},
      {"n_head", options.heads},
      {"n_inner", nullptr},
      {"activation_function", options.activation},
      {"resid_pdrop", options.dropout},
      {"embd_pdrop", options.dropout},
      {"attn_pdrop", options.dropout},
      {"layer_norm_epsilon", kNormEpsilon},
      {"dtype", "float32"},
  };
  const std::string path = (std::filesystem::path(folder) / "config.json").string();
  std::ofstream out(path);
  out << config.dump(2) << "\n";
  out.close();
  if (!out) throw std::runtime_error(path + ": cannot be written");
}

}  // namespace cosdt::agents
