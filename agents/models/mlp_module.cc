#include "agents/models/mlp_module.h"

#include <string>

namespace cosdt::agents {

std::shared_ptr<torch::nn::Module> ViewsOf(const MlpStack& stack, int64_t member) {
  using torch::nn::Module;
  const auto network = std::make_shared<Module>("network");
  const auto layers = network->register_module("layers", std::make_shared<Module>("layers"));
  const auto norms = std::make_shared<Module>("norms");
  for (size_t i = 0; i < stack.layers().size(); ++i) {
    const MlpStack::Layer& layer = stack.layers()[i];
    const bool last = i + 1 == stack.layers().size();
    const auto add = [&](const std::shared_ptr<Module>& list, const torch::Tensor& weight,
                         const torch::Tensor& bias) {
      const auto entry =
          list->register_module(std::to_string(i), std::make_shared<Module>("entry"));
      entry->register_parameter("weight", weight, /*requires_grad=*/false);
      entry->register_parameter("bias", bias.view(-1), /*requires_grad=*/false);
    };
    const torch::Tensor weight = layer.weight[member];
    add(layers, last ? weight : weight.t(), layer.bias[member]);
    if (layer.scale.defined()) add(norms, layer.scale[member].view(-1), layer.shift[member]);
  }
  if (!norms->children().empty()) network->register_module("norms", norms);
  return network;
}

}  // namespace cosdt::agents
