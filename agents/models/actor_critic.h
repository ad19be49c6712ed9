// Agents that learn from single transitions: an actor and two critics, multilayer perceptrons. They
// read an observation alone; actions are continuous.
//
//   td3bc   TD3+BC (arXiv 2106.06860)
//   rebrac  ReBRAC (arXiv 2305.09836): LayerNorm in the critics, penalties for actions far from the
//           data's in actor and critics
//   iql     implicit Q-learning (arXiv 2110.06169): a value network besides, and an actor by
//           advantage-weighted regression
//
// Defaults and names are those of CORL (github.com/tinkoff-ai/CORL, algorithms/offline), whose
// settings for each dataset are presets.
#pragma once

#include <torch/torch.h>

#include <concepts>
#include <memory>
#include <optional>

#include "agents/mlp/mlp_stack.h"
#include "agents/models/shared_options.h"
#include "agents/storage/option_name.h"

namespace cosdt::agents {

// What the three have in common.
struct ActorCriticOptions {
  int64_t observation_size = 0;
  int64_t action_size = 0;
  int64_t discrete_actions = 0;  // must be 0
  int64_t layers = 2;            // hidden, of every network: up to MlpStack::kMaxHiddenLayers
  int64_t width = 256;           // a multiple of 16

  // The interface of every kind (agent.h).
  static constexpr bool kReadsTargets = false;
  static constexpr int64_t context = 1, max_timestep = 1;
  int64_t tokens_per_step() const { return 1; }
  int64_t action_features() const { return action_size; }
  bool reads_previous_actions() const { return false; }

 protected:
  // Throws std::invalid_argument, naming the agent.
  void ValidateNetworks(const char* agent) const;
  double CountWeights(bool layer_norm, bool value) const;
};

struct Td3BcOptions : ActorCriticOptions {
  double alpha = 2.5;  // weight of Q, against the squared error of actions

  static constexpr char kName[] = "TD3+BC";
  void Validate() const;  // throws std::invalid_argument
  double WeightCount() const { return CountWeights(false, false); }
};

struct RebracOptions : ActorCriticOptions {
  double actor_bc_coef = 1;   // weight of the squared distance to the data's action, of the actor
  double critic_bc_coef = 1;  // and of the next one in the critics' target

  RebracOptions() { layers = 3; }
  static constexpr char kName[] = "ReBRAC";
  void Validate() const;
  double WeightCount() const { return CountWeights(true, false); }
};

struct IqlOptions : ActorCriticOptions {
  double expectile = 0.7;
  double beta = 3;  // inverse temperature of the advantages' weights
  double tau = 0.005;
  bool deterministic = false;  // the actor: squared errors in place of a Gaussian's log-likelihood
  bool normalize_rewards = false;  // times 1000 / (best - worst return of the data's episodes)

  static constexpr char kName[] = "IQL";
  void Validate() const;
  double WeightCount() const { return CountWeights(false, true); }
};

// Calls visit(OptionName, field) for every field: the tables for flags, TOML and checkpoints.
template <class Visitor>
void VisitNetworks(auto& o, const Visitor& visit) {
  visit(OptionName{"observation_size"}, o.observation_size);
  visit(OptionName{"action_size"}, o.action_size);
  visit(kLayersOption, o.layers);
  visit(kWidthOption, o.width);
}

template <class Options, class Visitor>
  requires std::same_as<std::remove_const_t<Options>, Td3BcOptions>
void Visit(Options& o, const Visitor& visit) {
  VisitNetworks(o, visit);
  visit(OptionName{"alpha", "alpha", "td3bc: weight of Q in the actor's loss"}, o.alpha);
}

template <class Options, class Visitor>
  requires std::same_as<std::remove_const_t<Options>, RebracOptions>
void Visit(Options& o, const Visitor& visit) {
  VisitNetworks(o, visit);
  visit(OptionName{"actor_bc_coef", "actor-bc-coef",
                   "rebrac: weight of the distance to the data's actions in the actor's loss"},
        o.actor_bc_coef);
  visit(
      OptionName{
          "critic_bc_coef", "critic-bc-coef",
          "rebrac: weight of the distance to the data's next actions in the critics' target"},
      o.critic_bc_coef);
}

template <class Options, class Visitor>
  requires std::same_as<std::remove_const_t<Options>, IqlOptions>
void Visit(Options& o, const Visitor& visit) {
  VisitNetworks(o, visit);
  visit(OptionName{"expectile", "expectile", "iql: expectile of the value network (CORL: iql_tau)"},
        o.expectile);
  visit(OptionName{"beta", "beta", "iql: inverse temperature of the advantages"}, o.beta);
  visit(OptionName{"tau", "tau", "iql: share of the critics that their slow copies take over"},
        o.tau);
  visit(OptionName{"iql_deterministic", "iql-deterministic",
                   "iql: an actor that learns by squared errors (true), not a Gaussian (false)"},
        o.deterministic);
  visit(OptionName{"normalize_reward", "normalize-reward",
                   "iql: scale rewards so that returns span 1000 (true or false)"},
        o.normalize_rewards);
}

// The networks; parameters are views of their flat tensors: "actor.layers.0.weight" [outputs,
// inputs], "critics.1.norms.0.bias", "value.layers.2.bias", "log_std".
class ActorCritic : public torch::nn::Module {
 public:
  // Draws the weights from torch's generator: by PyTorch's defaults, of ReBRAC as EDAC does.
  explicit ActorCritic(const Td3BcOptions& options);
  explicit ActorCritic(const RebracOptions& options);
  explicit ActorCritic(const IqlOptions& options);

  // Actions [.., action_size] in (-1, 1) for normalized observations [.., observation_size].
  torch::Tensor Act(const torch::Tensor& observations) const;

  MlpStack actor;                 // one member; actions are the outputs' tanh
  MlpStack critics;               // two members; inputs: observation, then action
  std::optional<MlpStack> value;  // IQL's
  torch::Tensor log_std;          // [action_size], of IQL's Gaussian actor; undefined without

 private:
  ActorCritic(const ActorCriticOptions& options, bool layer_norm, bool value);
  void RegisterAll();
};

}  // namespace cosdt::agents
