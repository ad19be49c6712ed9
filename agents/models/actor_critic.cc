#include "agents/models/actor_critic.h"

#include <cmath>
#include <stdexcept>
#include <string>

#include "agents/kernels/gemm.h"
#include "agents/models/mlp_module.h"

namespace cosdt::agents {
namespace {

void ExpectOption(bool good, const char* agent, const char* name, const std::string& expected,
                  const std::string& found) {
  if (good) return;
  throw std::invalid_argument(std::string(agent) + ": " + name + ": expected " + expected +
                              ", found " + found);
}

void ExpectNotNegative(const char* agent, const char* name, double found) {
  ExpectOption(std::isfinite(found) && found >= 0, agent, name, "0 or more", std::to_string(found));
}

}  // namespace

void ActorCriticOptions::ValidateNetworks(const char* agent) const {
  const auto at_least_1 = [&](const char* name, int64_t found) {
    ExpectOption(found >= 1, agent, name, "at least 1", std::to_string(found));
  };
  at_least_1("observation_size", observation_size);
  ExpectOption(discrete_actions == 0, agent, "actions", "continuous ones",
               "Discrete(" + std::to_string(discrete_actions) + ")");
  at_least_1("action_size", action_size);
  ExpectOption(layers >= 1 && layers <= MlpStack::kMaxHiddenLayers, agent, "layers",
               "1 to " + std::to_string(MlpStack::kMaxHiddenLayers), std::to_string(layers));
  ExpectOption(width >= 1 && width % kernels::kPanel == 0, agent, "width",
               "a multiple of " + std::to_string(kernels::kPanel), std::to_string(width));
}

double ActorCriticOptions::CountWeights(bool layer_norm, bool value) const {
  const auto o = static_cast<double>(observation_size), a = static_cast<double>(action_size),
             w = static_cast<double>(width), l = static_cast<double>(layers);
  const auto network = [&](double inputs, double outputs, double of_norms) {
    return (inputs + 1) * w + (l - 1) * (w + 1) * w + (w + 1) * outputs + of_norms;
  };
  return network(o, a, 0) + 2 * network(o + a, 1, layer_norm ? 2 * w * l : 0) +
         (value ? network(o, 1, 0) : 0);
}

void Td3BcOptions::Validate() const {
  ValidateNetworks(kName);
  ExpectNotNegative(kName, "alpha", alpha);
}

void RebracOptions::Validate() const {
  ValidateNetworks(kName);
  ExpectNotNegative(kName, "actor-bc-coef", actor_bc_coef);
  ExpectNotNegative(kName, "critic-bc-coef", critic_bc_coef);
}

void IqlOptions::Validate() const {
  ValidateNetworks(kName);
  ExpectNotNegative(kName, "beta", beta);
  ExpectOption(expectile > 0 && expectile < 1, kName, "expectile", "a value between 0 and 1",
               std::to_string(expectile));
  ExpectOption(tau > 0 && tau <= 1, kName, "tau", "a value above 0 and at most 1",
               std::to_string(tau));
}

ActorCritic::ActorCritic(const ActorCriticOptions& o, bool layer_norm, bool has_value)
    : torch::nn::Module("actor_critic"),
      actor(1, o.observation_size, o.width, o.action_size, o.layers),
      critics(2, o.observation_size + o.action_size, o.width, 1, o.layers, layer_norm) {
  if (has_value) value.emplace(1, o.observation_size, o.width, 1, o.layers);
}

ActorCritic::ActorCritic(const Td3BcOptions& options) : ActorCritic(options, false, false) {
  actor.Initialize(std::nullopt);
  critics.Initialize(std::nullopt);
  RegisterAll();
}

ActorCritic::ActorCritic(const RebracOptions& options) : ActorCritic(options, true, false) {
  actor.InitializeAsEdac(1e-3, std::nullopt);
  critics.InitializeAsEdac(3e-3, std::nullopt);
  RegisterAll();
}

ActorCritic::ActorCritic(const IqlOptions& options) : ActorCritic(options, false, true) {
  actor.Initialize(std::nullopt);
  critics.Initialize(std::nullopt);
  value->Initialize(std::nullopt);
  if (!options.deterministic) log_std = torch::zeros(options.action_size);
  RegisterAll();
}

void ActorCritic::RegisterAll() {
  register_module("actor", ViewsOf(actor, 0));
  const auto both = register_module("critics", std::make_shared<torch::nn::Module>("critics"));
  for (const int64_t member : {0, 1}) {
    both->register_module(std::to_string(member), ViewsOf(critics, member));
  }
  if (value) register_module("value", ViewsOf(*value, 0));
  if (log_std.defined()) register_parameter("log_std", log_std, /*requires_grad=*/false);
}

torch::Tensor ActorCritic::Act(const torch::Tensor& observations) const {
  const MlpStack::Layers& layers = actor.layers();
  TORCH_CHECK_VALUE(observations.dim() >= 1 && observations.size(-1) == layers[0].weight.size(1),
                    "actor: observations: expected shape [.., ", layers[0].weight.size(1),
                    "], found ", observations.sizes());
  torch::Tensor x = observations;
  for (size_t i = 0; i + 1 < layers.size(); ++i) {
    x = torch::relu(torch::matmul(x, layers[i].weight[0]) + layers[i].bias[0]);
  }
  return torch::tanh(torch::matmul(x, layers.back().weight[0].t()) + layers.back().bias.view(-1));
}

}  // namespace cosdt::agents
