// Behaviour cloning: a multilayer perceptron from an observation to its action, as D4RL's baselines
// have it (two hidden ReLU layers of 256, tanh).
#pragma once

#include <torch/torch.h>

namespace cosdt::agents {

struct BehaviourCloningOptions {
  int64_t observation_size = 0;
  int64_t action_size = 0;
  int64_t layers = 2;  // hidden
  int64_t width = 256;

  // Throws std::invalid_argument for numbers below 1.
  void Validate() const;

  // Elements of a model's parameters, as DecisionTransformerOptions has it.
  double WeightCount() const;
};

class BehaviourCloningImpl : public torch::nn::Module {
 public:
  // Draws the weights from torch's generator by PyTorch's defaults. Throws what Validate() throws.
  explicit BehaviourCloningImpl(const BehaviourCloningOptions& options);

  // Actions [.., action_size] in (-1, 1) for normalised observations [.., observation_size]. Throws
  // c10::Error for another size.
  torch::Tensor forward(const torch::Tensor& observations);

  const BehaviourCloningOptions& options() const { return options_; }

 private:
  BehaviourCloningOptions options_;
  torch::nn::ModuleList layers_;  // "layers.0", .. and the head last
};
TORCH_MODULE(BehaviourCloning);

}  // namespace cosdt::agents
