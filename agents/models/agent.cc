#include "agents/models/agent.h"

#include <nlohmann/json.hpp>
#include <stdexcept>

#include "datasets/file_error.h"

namespace cosdt::agents {
namespace {

using nlohmann::json;

// Calls visit(name, field) for every option of the agent's kind.
template <class Options, class Visit>
void VisitFields(Options& o, const Visit& visit) {
  if (o.kind == "bc") {
    visit("observation_size", o.bc.observation_size);
    visit("action_size", o.bc.action_size);
    visit("layers", o.bc.layers);
    visit("width", o.bc.width);
    return;
  }
  visit("observation_size", o.dt.observation_size);
  visit("action_size", o.dt.action_size);
  visit("layers", o.dt.layers);
  visit("heads", o.dt.heads);
  visit("width", o.dt.width);
  visit("context", o.dt.context);
  visit("activation", o.dt.activation);
  visit("dropout", o.dt.dropout);
  visit("max_timestep", o.dt.max_timestep);
  visit("attention", o.dt.attention.kind);
  visit("reweight_length", o.dt.attention.reweight_length);
  visit("reweight", o.dt.attention.reweight);
  visit("feature_map", o.dt.attention.feature_map);
  visit("window", o.dt.attention.window);
  visit("features", o.dt.attention.features);
  visit("feature_seed", o.dt.attention.seed);
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

void AgentOptions::SetSizes(int64_t observation_size, int64_t action_size) {
  dt.observation_size = bc.observation_size = observation_size;
  dt.action_size = bc.action_size = action_size;
}

void AgentOptions::Validate() const {
  if (kind == "dt") {
    dt.Validate();
  } else if (kind == "bc") {
    bc.Validate();
  } else {
    throw std::invalid_argument("agent: expected dt or bc, found " + kind);
  }
}

std::string ToJson(const AgentOptions& options) {
  json object = {{"kind", options.kind}};
  VisitFields(options, [&](const char* name, const auto& field) { object[name] = field; });
  return object.dump();
}

AgentOptions ParseAgentOptions(const std::string& file, const std::string& text) {
  const json object = json::parse(text, nullptr, false);
  if (!object.is_object()) throw datasets::FileError(file, "agent", "an object in JSON", "none");
  AgentOptions options;
  const auto read = [&](const char* name, auto& field) {
    const auto found = object.find(name);
    if (found == object.end()) {
      throw datasets::FileError(file, std::string("agent.") + name, "a value", "none");
    }
    if (Read(*found, field)) return;
    throw datasets::FileError(file, std::string("agent.") + name, "a value of another type",
                              found->is_structured() ? "a list or an object" : found->dump());
  };
  read("kind", options.kind);
  VisitFields(options, read);
  try {
    options.Validate();
  } catch (const c10::Error& e) {
    throw datasets::FileError(file, "agent", "valid options", e.what_without_backtrace());
  } catch (const std::invalid_argument& e) {
    throw datasets::FileError(file, "agent", "valid options", e.what());
  }
  return options;
}

Agent::Agent(const AgentOptions& options) : options_(options) {
  options_.Validate();
  if (options_.kind == "bc") {
    bc_ = BehaviourCloning(options_.bc);
    module_ = bc_.ptr();
  } else {
    dt_ = DecisionTransformer(options_.dt);
    module_ = dt_.ptr();
  }
}

torch::Tensor Agent::Predict(const Batch& batch) {
  if (bc_) return bc_(batch.observations);
  return dt_(batch.returns_to_go, batch.observations, batch.actions, batch.timesteps, batch.mask);
}

void Agent::set_compute_type(torch::ScalarType type) {
  if (dt_) dt_->set_compute_type(type);
}

void Agent::set_dropout_key(uint64_t key) {
  if (dt_) dt_->set_dropout_key(key);
}

}  // namespace cosdt::agents
