// The agents that one set of commands trains and evaluates. A kind of agent is a class with this
// interface, its options in AgentOptions, and a line in the table of kinds (agent.cc).
#pragma once

#include <torch/torch.h>

#include <concepts>
#include <memory>
#include <string>
#include <utility>

#include "agents/models/actor_critic.h"
#include "agents/models/behaviour_cloning.h"
#include "agents/models/decision_transformer.h"
#include "agents/storage/option_name.h"

namespace cosdt::agents {

struct AgentOptions {
  std::string kind = "dt";  // or another of the table of kinds
  DecisionTransformerOptions dt;
  BehaviourCloningOptions bc;
  Td3BcOptions td3bc;
  RebracOptions rebrac;
  IqlOptions iql;

  // The functions below speak of the kind's own options, and throw std::invalid_argument for an
  // unknown kind.

  // Throws what the kind's options throw.
  void Validate() const;

  std::string name() const;  // for messages: "Decision Transformer"
  int64_t observation_size() const;
  int64_t action_size() const;
  int64_t discrete_actions() const;  // n of Discrete(n), 0: continuous
  int64_t action_features() const;   // values of an action as an agent's input and output
  void SetSizes(int64_t observation_size, int64_t action_size, int64_t discrete_actions = 0);

  int64_t layers() const;
  int64_t width() const;
  void SetShape(int64_t layers, int64_t width);  // of all kinds

  int64_t context() const;          // steps in a window of training data
  int64_t tokens_per_step() const;  // of the model's sequence
  int64_t max_timestep() const;     // timesteps are clamped below it
  bool reads_previous_actions() const;
  bool reads_targets() const;  // whether actions depend on the return-to-go
  const attention::AttentionOptions* attention() const;  // null for a kind without
  bool has_critics() const;  // an actor-critic, which learns from transitions (actor_critic.h)

  double WeightCount() const;  // elements of all parameters
};

// Calls body(options) for the options of every kind.
template <class Body>
void ForEachKind(auto& options, const Body& body) {
  body(options.dt);
  body(options.bc);
  body(options.td3bc);
  body(options.rebrac);
  body(options.iql);
}

// Calls visit(OptionName, field) for the kind and for the options of all kinds, which share flags.
template <class Options, class Visitor>
  requires std::same_as<std::remove_const_t<Options>, AgentOptions>
void Visit(Options& o, const Visitor& visit) {
  visit(
      OptionName{"kind", "agent",
                 "agent: dt (Decision Transformer), bc (behaviour cloning), td3bc, rebrac or iql"},
      o.kind);
  ForEachKind(o, [&](auto& own) { Visit(own, visit); });
}

// The options of the kind as one JSON object, and back. ParseAgentOptions throws FileError
// (datasets/file_error.h) naming `file` and the field that is missing or has another type.
std::string ToJson(const AgentOptions& options);
AgentOptions ParseAgentOptions(const std::string& file, const std::string& json);

// Windows of training data on one device; shapes are DecisionTransformerImpl::forward's.
struct Batch {
  torch::Tensor returns_to_go, observations, actions, timesteps, mask;
  // of the steps before; at an episode's first zeros, or kNoAction of discrete ones. Undefined or
  // empty for agents that do not read them.
  torch::Tensor previous_actions = {};
  // with a critic (training/critic_guide.h): observations [B, K, observation_size] as it takes
  // them, and weights [B], on the CPU. Undefined without.
  torch::Tensor critic_observations = {}, critic_weights = {};
};

// The actions that a Decision Transformer of these options takes as inputs.
const torch::Tensor& ActionInputs(const Batch& batch, const DecisionTransformerOptions& options);

class Agent {
 public:
  virtual ~Agent() = default;

  const AgentOptions& options() const { return options_; }
  torch::Device device() const { return module().parameters().at(0).device(); }

  // Its parameters and buffers, and whether it trains or evaluates.
  virtual torch::nn::Module& module() const = 0;

  // What is predicted at every step, [B, K, action_features]: actions, or logits of discrete ones.
  // Throws c10::Error for other shapes.
  virtual torch::Tensor Predict(const Batch& batch) = 0;

  // The type of matrix products in training; parameters stay in float32. No effect on agents that
  // are too small to gain by it.
  virtual void set_compute_type(torch::ScalarType) {}

  // See DecisionTransformerImpl; agents without dropout have no layers of it.
  virtual void set_dropout_key(uint64_t /*key*/, int64_t /*first*/ = 0) {}
  virtual int64_t dropout_layers() const { return 0; }

  // The Decision Transformer that it is, for code that computes one faster than Predict:
  // decoding step by step, updates without autograd. Null for other agents.
  virtual DecisionTransformer transformer() const { return nullptr; }

  // The actor-critic that it is, for code that trains it or asks its critics. Null for others.
  virtual ActorCritic* actor_critic() const { return nullptr; }

 protected:
  explicit Agent(AgentOptions options) : options_(std::move(options)) {}

 private:
  AgentOptions options_;
};

// The agent of the options' kind. Draws the weights from torch's generator. Throws what Validate()
// throws.
std::shared_ptr<Agent> MakeAgent(const AgentOptions& options);

}  // namespace cosdt::agents
