#include "agents/models/hf_checkpoint.h"

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <utility>

#include "agents/storage/safetensors.h"
#include "datasets/atomic_file.h"
#include "datasets/file_error.h"
#include "datasets/file_kind.h"

namespace cosdt::agents {
namespace {

namespace fs = std::filesystem;
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

// A folder's config.json; missing keys have transformers' defaults.
class Config {
 public:
  explicit Config(const fs::path& folder) : path_(folder / "config.json") {
    if (const std::string why = datasets::WhyNoFile(path_); !why.empty()) {
      throw FileError(path_, "", "a readable file", why);
    }
    std::ifstream file(path_);
    json_ = json::parse(file, nullptr, false);
    if (!json_.is_object()) throw FileError(path_, "", "an object in JSON", "none");
  }

  int64_t Size(const char* key, int64_t otherwise) const {
    const auto found = json_.find(key);
    if (found == json_.end()) return otherwise;
    if (!found->is_number_unsigned() || found->get<uint64_t>() > INT64_MAX) {
      Fail(key, "a whole number, not negative");
    }
    return found->get<int64_t>();
  }
  double Number(const char* key, double otherwise) const {
    const json value = json_.value(key, json(otherwise));
    if (!value.is_number()) Fail(key, "a number");
    return value.get<double>();
  }
  std::string Activation() const {
    const json value = json_.value("activation_function", json("relu"));
    if (value != "relu" && value != "gelu") Fail("activation_function", "relu or gelu");
    return value.get<std::string>();
  }
  void MustBe(const char* key, const json& expected) const {
    const json value = json_.value(key, json());
    if (!value.is_null() && value != expected) Fail(key, expected.dump());
  }
  [[noreturn]] void Fail(const char* key, const std::string& expected) const {
    const json& value = json_.at(key);
    // lists and objects may be nested deeper than a stack is
    std::string found = value.is_structured() ? "something else" : value.dump();
    if (found.size() > 40) found = found.substr(0, 37) + "...";
    throw FileError(path_, key, expected, found);
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  json json_;
};

DecisionTransformerOptions ReadOptions(const Config& config, int64_t context) {
  DecisionTransformerOptions options;
  options.observation_size = config.Size("state_dim", 17);
  options.action_size = config.Size("act_dim", 4);
  options.layers = config.Size("n_layer", 3);
  options.heads = config.Size("n_head", 1);
  options.width = config.Size("hidden_size", 128);
  options.max_timestep = config.Size("max_ep_len", 4096);
  options.context = context;
  options.activation = config.Activation();
  options.dropout = config.Number("resid_pdrop", 0.1);
  options.attention.kind = "softmax";
  config.MustBe("action_tanh", true);
  config.MustBe("scale_attn_weights", true);
  config.MustBe("scale_attn_by_inverse_layer_idx", false);
  config.MustBe("layer_norm_epsilon", kNormEpsilon);
  try {
    options.Validate();
  } catch (const std::invalid_argument& e) {
    throw FileError(config.path(), "", "valid options", e.what());
  }
  return options;
}

// The folder's weights in float32, which has every value of float16 and bfloat16. A folder with
// weights in other files is told the call that writes this one.
Safetensors ReadWeights(const fs::path& folder, const std::string& path) {
  if (!fs::exists(path)) {
    for (const char* other :
         {"model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json"}) {
      if (!fs::exists(folder / other)) continue;
      throw FileError(folder, "",
                      "model.safetensors, which transformers writes with "
                      "DecisionTransformerModel.from_pretrained(FOLDER)"
                      ".save_pretrained(FOLDER, max_shard_size=\"100GB\")",
                      other);
    }
  }
  Safetensors file = ReadSafetensors(path);
  for (auto& [name, tensor] : file.tensors) {
    const torch::ScalarType type = tensor.scalar_type();
    if (type == torch::kFloat16 || type == torch::kBFloat16) tensor = tensor.to(torch::kFloat32);
  }
  return file;
}

}  // namespace

DecisionTransformer ImportHfCheckpoint(const std::string& folder, int64_t context) {
  const Config config(folder);
  const DecisionTransformerOptions options = ReadOptions(config, context);
  const std::string path = (fs::path(folder) / "model.safetensors").string();
  const Safetensors file = ReadWeights(folder, path);
  file.ExpectElements(config.path(), "", options.WeightCount());
  config.MustBe("n_inner", 4 * options.width);  // which fits, as the file's elements do

  DecisionTransformer model(options);
  const torch::NoGradGuard no_grad;
  for (const Pair& pair : Pairs(model)) {
    const Tensor ours = pair.transposed ? pair.ours.t() : pair.ours;
    ours.copy_(file.Get(path, pair.theirs, ours.sizes(), torch::kFloat32));
  }
  const Tensor positions =
      file.Get(path, "encoder.wpe.weight", {config.Size("n_positions", kPositions), options.width},
               torch::kFloat32);
  if (positions.size(0) > 0) model->embed_norm->bias += positions[0];
  return model;
}

void ExportHfCheckpoint(const DecisionTransformer& model, const std::string& folder) {
  const DecisionTransformerOptions& options = model->options();
  if (options.tokens != 3) {
    throw std::invalid_argument(
        "export: tokens: expected 3 per step, the only number transformers has, found " +
        std::to_string(options.tokens));
  }
  if (options.attention.kind != "softmax") {
    throw std::invalid_argument(
        "export: attention: expected softmax, the only kind transformers has, "
        "found " +
        options.attention.kind);
  }
  fs::create_directories(folder);
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
  WriteSafetensors((fs::path(folder) / "model.safetensors").string(), file);

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
  datasets::WriteFile((fs::path(folder) / "config.json").string(), config.dump(2) + "\n");
}

}  // namespace cosdt::agents
