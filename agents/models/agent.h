// What is trained and evaluated under one set of commands: the Decision Transformer, or behaviour
// cloning.
#pragma once

#include <torch/torch.h>

#include <memory>
#include <string>

#include "agents/models/behaviour_cloning.h"
#include "agents/models/decision_transformer.h"

namespace cosdt::agents {

struct AgentOptions {
  std::string kind = "dt";  // or "bc"
  DecisionTransformerOptions dt;
  BehaviourCloningOptions bc;

  int64_t observation_size() const {
    return kind == "bc" ? bc.observation_size : dt.observation_size;
  }
  int64_t action_size() const { return kind == "bc" ? bc.action_size : dt.action_size; }
  void SetSizes(int64_t observation_size, int64_t action_size);

  // Steps in a window of training data.
  int64_t context() const { return kind == "bc" ? 1 : dt.context; }

  // Throws std::invalid_argument for an unknown kind, and what the kind's options throw.
  void Validate() const;

  // Of the kind's options.
  double WeightCount() const { return kind == "bc" ? bc.WeightCount() : dt.WeightCount(); }
};

// The options of the kind as one JSON object, and back; ParseAgentOptions throws FileError
// (datasets/file_error.h) naming `file` and the field where something is missing or has another
// type.
std::string ToJson(const AgentOptions& options);
AgentOptions ParseAgentOptions(const std::string& file, const std::string& json);

// Windows of training data on one device; shapes are DecisionTransformerImpl::forward's.
struct Batch {
  torch::Tensor returns_to_go, observations, actions, timesteps, mask;
};

class Agent {
 public:
  // Draws the weights from torch's generator. Throws what Validate() throws.
  explicit Agent(const AgentOptions& options);

  const AgentOptions& options() const { return options_; }
  torch::nn::Module& module() { return *module_; }
  const torch::nn::Module& module() const { return *module_; }
  torch::Device device() const { return module_->parameters().at(0).device(); }

  // The action predicted at every step, [B, K, action_size].
  torch::Tensor Predict(const Batch& batch);

  // Of matrix products in training; parameters stay in float32. Behaviour cloning is too small to
  // gain by it and stays in float32.
  void set_compute_type(torch::ScalarType type);

  // See DecisionTransformerImpl; behaviour cloning drops nothing.
  void set_dropout_key(uint64_t key);
  int64_t dropout_layers() const { return dt_ ? dt_->dropout_layers() : 0; }

  // Null for the other kind.
  DecisionTransformer dt() const { return dt_; }
  BehaviourCloning bc() const { return bc_; }

 private:
  AgentOptions options_;
  DecisionTransformer dt_{nullptr};
  BehaviourCloning bc_{nullptr};
  std::shared_ptr<torch::nn::Module> module_;
};

}  // namespace cosdt::agents
