#include "agents/models/agent.h"

#include <nlohmann/json.hpp>
#include <stdexcept>
#include <type_traits>

#include "datasets/file_error.h"

namespace cosdt::agents {
namespace {

using nlohmann::json;

class DecisionTransformerAgent : public Agent {
 public:
  DecisionTransformerAgent(const AgentOptions& options, const DecisionTransformerOptions& own)
      : Agent(options), model_(own) {}

  torch::nn::Module& module() const override { return *model_.ptr(); }
  torch::Tensor Predict(const Batch& batch) override {
    return model_(batch.returns_to_go, batch.observations, ActionInputs(batch, options().dt),
                  batch.timesteps, batch.mask);
  }
  void set_compute_type(torch::ScalarType type) override { model_->set_compute_type(type); }
  void set_dropout_key(uint64_t key, int64_t first) override {
    model_->set_dropout_key(key, first);
  }
  int64_t dropout_layers() const override { return model_->dropout_layers(); }
  DecisionTransformer transformer() const override { return model_; }

 private:
  DecisionTransformer model_;
};

class BehaviourCloningAgent : public Agent {
 public:
  BehaviourCloningAgent(const AgentOptions& options, const BehaviourCloningOptions& own)
      : Agent(options), model_(own) {}

  torch::nn::Module& module() const override { return *model_.ptr(); }
  torch::Tensor Predict(const Batch& batch) override { return model_(batch.observations); }

 private:
  BehaviourCloning model_;
};

template <class Options>
class ActorCriticAgent : public Agent {
 public:
  ActorCriticAgent(const AgentOptions& options, const Options& own)
      : Agent(options), model_(std::make_shared<ActorCritic>(own)) {}

  torch::nn::Module& module() const override { return *model_; }
  torch::Tensor Predict(const Batch& batch) override { return model_->Act(batch.observations); }
  ActorCritic* actor_critic() const override { return model_.get(); }

 private:
  std::shared_ptr<ActorCritic> model_;
};

// The table of kinds: their names, options and classes. Calls visit(options of the kind, class).
template <class Options, class F>
decltype(auto) WithKind(Options& options, const F& visit) {
  if (options.kind == "dt")
    return visit(options.dt, std::type_identity<DecisionTransformerAgent>());
  if (options.kind == "bc") return visit(options.bc, std::type_identity<BehaviourCloningAgent>());
  const auto with_critics = [&](auto& own) -> decltype(auto) {
    return visit(own, std::type_identity<ActorCriticAgent<std::decay_t<decltype(own)>>>());
  };
  if (options.kind == "td3bc") return with_critics(options.td3bc);
  if (options.kind == "rebrac") return with_critics(options.rebrac);
  if (options.kind == "iql") return with_critics(options.iql);
  throw std::invalid_argument("agent: expected dt, bc, td3bc, rebrac or iql, found " +
                              options.kind);
}

// A value of the field's very type: JSON's own conversions round and wrap around.
bool Read(const json& value, int64_t& field) {
  if (!value.is_number_integer()) return false;
  field = value.get<int64_t>();
  return !value.is_number_unsigned() || field >= 0;
}
bool Read(const json& value, uint64_t& field) {
  if (value.is_number_unsigned()) field = value.get<uint64_t>();
  return value.is_number_unsigned();
}
bool Read(const json& value, double& field) {
  if (value.is_number()) field = value.get<double>();
  return value.is_number();
}
bool Read(const json& value, bool& field) {
  if (value.is_boolean()) field = value.get<bool>();
  return value.is_boolean();
}
bool Read(const json& value, std::string& field) {
  if (value.is_string()) field = value.get<std::string>();
  return value.is_string();
}

}  // namespace

const torch::Tensor& ActionInputs(const Batch& batch, const DecisionTransformerOptions& options) {
  return options.reads_previous_actions() ? batch.previous_actions : batch.actions;
}

void AgentOptions::Validate() const {
  WithKind(*this, [](const auto& own, auto) { own.Validate(); });
}

std::string AgentOptions::name() const {
  return WithKind(*this, [](const auto& own, auto) { return std::string(own.kName); });
}

int64_t AgentOptions::observation_size() const {
  return WithKind(*this, [](const auto& own, auto) { return own.observation_size; });
}

int64_t AgentOptions::action_size() const {
  return WithKind(*this, [](const auto& own, auto) { return own.action_size; });
}

int64_t AgentOptions::discrete_actions() const {
  return WithKind(*this, [](const auto& own, auto) { return own.discrete_actions; });
}

int64_t AgentOptions::action_features() const {
  return WithKind(*this, [](const auto& own, auto) { return own.action_features(); });
}

void AgentOptions::SetSizes(int64_t observation_size, int64_t action_size,
                            int64_t discrete_actions) {
  WithKind(*this, [&](auto& own, auto) {
    own.observation_size = observation_size;
    own.action_size = action_size;
    own.discrete_actions = discrete_actions;
  });
}

int64_t AgentOptions::layers() const {
  return WithKind(*this, [](const auto& own, auto) { return own.layers; });
}

int64_t AgentOptions::width() const {
  return WithKind(*this, [](const auto& own, auto) { return own.width; });
}

void AgentOptions::SetShape(int64_t layers, int64_t width) {
  ForEachKind(*this, [&](auto& own) {
    own.layers = layers;
    own.width = width;
  });
}

int64_t AgentOptions::context() const {
  return WithKind(*this, [](const auto& own, auto) { return int64_t{own.context}; });
}

int64_t AgentOptions::tokens_per_step() const {
  return WithKind(*this, [](const auto& own, auto) { return own.tokens_per_step(); });
}

int64_t AgentOptions::max_timestep() const {
  return WithKind(*this, [](const auto& own, auto) { return int64_t{own.max_timestep}; });
}

bool AgentOptions::reads_previous_actions() const {
  return WithKind(*this, [](const auto& own, auto) { return own.reads_previous_actions(); });
}

bool AgentOptions::reads_targets() const {
  return WithKind(*this, [](const auto& own, auto) { return bool{own.kReadsTargets}; });
}

const attention::AttentionOptions* AgentOptions::attention() const {
  return WithKind(*this, [](const auto& own, auto) -> const attention::AttentionOptions* {
    if constexpr (requires { own.attention; }) {
      return &own.attention;
    } else {
      return nullptr;
    }
  });
}

bool AgentOptions::has_critics() const {
  return WithKind(*this, [](const auto& own, auto) {
    return std::is_base_of_v<ActorCriticOptions, std::decay_t<decltype(own)>>;
  });
}

double AgentOptions::WeightCount() const {
  return WithKind(*this, [](const auto& own, auto) { return own.WeightCount(); });
}

std::shared_ptr<Agent> MakeAgent(const AgentOptions& options) {
  options.Validate();
  return WithKind(options, [&](const auto& own, auto kind) -> std::shared_ptr<Agent> {
    return std::make_shared<typename decltype(kind)::type>(options, own);
  });
}

std::string ToJson(const AgentOptions& options) {
  json object = {{"kind", options.kind}};
  WithKind(options, [&](const auto& own, auto) {
    Visit(own, [&](const OptionName& name, const auto& field) {
      if (name.key) object[name.key] = field;
    });
  });
  return object.dump();
}

AgentOptions ParseAgentOptions(const std::string& file, const std::string& text) {
  const json object = json::parse(text, nullptr, false);
  if (!object.is_object()) throw datasets::FileError(file, "agent", "an object in JSON", "none");
  AgentOptions options;
  const auto read = [&](const OptionName& name, auto& field) {
    if (!name.key) return;
    const std::string key = std::string("agent.") + name.key;
    const auto found = object.find(name.key);
    if (found == object.end() && name.added_later) return;
    if (found == object.end()) throw datasets::FileError(file, key, "a value", "none");
    if (Read(*found, field)) return;
    throw datasets::FileError(file, key, "a value of another type",
                              found->is_structured() ? "a list or an object" : found->dump());
  };
  read({"kind"}, options.kind);
  try {
    WithKind(options, [&](auto& own, auto) { Visit(own, read); });
    options.Validate();
  } catch (const c10::Error& e) {
    throw datasets::FileError(file, "agent", "valid options", e.what_without_backtrace());
  } catch (const std::invalid_argument& e) {
    throw datasets::FileError(file, "agent", "valid options", e.what());
  }
  return options;
}

}  // namespace cosdt::agents
