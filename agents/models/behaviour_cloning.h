// Behaviour cloning: a multilayer perceptron from an observation to its action, with the sizes of
// D4RL's baselines (two hidden ReLU layers of 256, tanh).
#pragma once

#include <torch/torch.h>

#include <concepts>

#include "agents/models/actions.h"
#include "agents/models/shared_options.h"
#include "agents/storage/option_name.h"

namespace cosdt::agents {

struct BehaviourCloningOptions {
  int64_t observation_size = 0;
  int64_t action_size = 0;
  int64_t discrete_actions = 0;  // n of Discrete(n) (actions.h), 0: continuous
  int64_t layers = 2;            // hidden
  int64_t width = 256;

  // The interface of every kind (agent.h): reads an observation alone, without its timestep.
  static constexpr char kName[] = "behaviour cloning";
  static constexpr bool kReadsTargets = false;
  static constexpr int64_t context = 1, max_timestep = 1;
  int64_t tokens_per_step() const { return 1; }
  int64_t action_features() const { return ActionFeatures(action_size, discrete_actions); }
  bool reads_previous_actions() const { return false; }

  // Throws std::invalid_argument for values below 1.
  void Validate() const;

  // Elements of a model's parameters, as in DecisionTransformerOptions.
  double WeightCount() const;
};

// Calls visit(OptionName, field) for every field: the table for flags, TOML and checkpoints.
template <class Options, class Visitor>
  requires std::same_as<std::remove_const_t<Options>, BehaviourCloningOptions>
void Visit(Options& o, const Visitor& visit) {
  visit(OptionName{"observation_size"}, o.observation_size);
  visit(OptionName{"action_size"}, o.action_size);
  visit(OptionName{.key = "discrete_actions", .added_later = true}, o.discrete_actions);
  visit(kLayersOption, o.layers);
  visit(kWidthOption, o.width);
}

class BehaviourCloningImpl : public torch::nn::Module {
 public:
  // Draws the weights from torch's generator by PyTorch's defaults. Throws what Validate() throws.
  explicit BehaviourCloningImpl(const BehaviourCloningOptions& options);

  // Actions [.., action_size] in (-1, 1), or logits [.., discrete_actions], for normalised
  // observations [.., observation_size]. Throws c10::Error for another size.
  torch::Tensor forward(const torch::Tensor& observations);

  const BehaviourCloningOptions& options() const { return options_; }

 private:
  BehaviourCloningOptions options_;
  torch::nn::ModuleList layers_;  // "layers.0", .. and the head last
};
TORCH_MODULE(BehaviourCloning);

}  // namespace cosdt::agents
