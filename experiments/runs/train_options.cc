#include "experiments/runs/train_options.h"

#include <algorithm>
#include <stdexcept>

#include "envs/model.h"
#include "envs/registry.h"
#include "experiments/program/options.h"

namespace cosdt::experiments {
namespace {

void ExpectBetween(const char* name, int64_t least, int64_t most, int64_t found) {
  if (least <= found && found <= most) return;
  throw std::invalid_argument(std::string(name) + ": expected " + std::to_string(least) + " to " +
                              std::to_string(most) + ", found " + std::to_string(found));
}

// The targets of the original Decision Transformer's experiments, or the return that solves a task.
std::vector<double> DefaultTargets(const std::string& env) {
  if (env.empty()) return {};
  const std::string body = envs::ParseEnvName(env).body;
  if (body == "hopper") return {3600, 1800};
  if (body == "halfcheetah") return {12000, 6000};
  if (body == "walker2d") return {5000, 2500};
  return {envs::MakeEnv(env)->spec().success_return.value()};
}

template <class T>
void FillZero(T& field, T value) {
  if (field == 0) field = value;
}

}  // namespace

TrainOptions::TrainOptions() {
  agent.dt.layers = agent.dt.width = agent.bc.layers = agent.bc.width = 0;
  agent.dt.max_timestep = 0;
  trainer.return_scale = 0;
}

// Returns of a task that is solved or not are about 1, and a timestep has a row of its own in the
// embedding table as far as episodes last.
void TrainOptions::FillDefaults() {
  const agents::AgentOptions usual;
  const bool bc = agent.kind == "bc";
  FillZero(bc ? agent.bc.layers : agent.dt.layers, bc ? usual.bc.layers : usual.dt.layers);
  FillZero(bc ? agent.bc.width : agent.dt.width, bc ? usual.bc.width : usual.dt.width);
  (bc ? agent.dt.layers : agent.bc.layers) = bc ? agent.bc.layers : agent.dt.layers;
  (bc ? agent.dt.width : agent.bc.width) = bc ? agent.bc.width : agent.dt.width;

  envs::EnvSpec spec;
  if (!env.empty()) spec = envs::MakeEnv(env)->spec();
  if (targets.empty()) targets = DefaultTargets(env);
  FillZero(trainer.return_scale,
           spec.success_return.value_or(agents::TrainerOptions().return_scale));
  FillZero(agent.dt.max_timestep, std::max<int64_t>(usual.dt.max_timestep, spec.horizon));
}

void TrainOptions::FillFrom(const TrainOptions& begun) {
  FillZero(agent.dt.layers, begun.agent.dt.layers);
  FillZero(agent.dt.width, begun.agent.dt.width);
  FillZero(agent.bc.layers, begun.agent.bc.layers);
  FillZero(agent.bc.width, begun.agent.bc.width);
  FillZero(agent.dt.max_timestep, begun.agent.dt.max_timestep);
  FillZero(trainer.return_scale, begun.trainer.return_scale);
  if (env.empty()) env = begun.env;
  if (physics.empty()) physics = begun.physics;
  if (targets.empty()) targets = begun.targets;
}

void TrainOptions::Validate() const {
  ExpectBetween("threads", 1, kMaxThreads, threads);
  ExpectBetween("episodes", 1, kMaxEpisodes, episodes);
  TrainingRunOptions::Validate();
  if (!(top > 0 && top <= 100)) {
    throw std::invalid_argument("top: expected a share from 0 to 100 %, found " +
                                std::to_string(top));
  }
  if (normalize_over != "kept" && normalize_over != "all") {
    throw std::invalid_argument("normalize-over: expected kept or all, found " + normalize_over);
  }
  if (!physics.empty()) envs::ParsePhysics(physics);
}

void TrainOptions::ValidateForAnyData() const {
  TrainOptions probe = *this;
  probe.env = "";
  probe.FillDefaults();
  probe.agent.SetSizes(1, 1);
  probe.Validate();
}

std::vector<TrainField> TrainFields(TrainOptions& o) {
  agents::DecisionTransformerOptions& dt = o.agent.dt;
  std::vector<TrainField> fields = {
      {"dataset",
       "dataset: a D4RL or Minari file, a D4RL name (hopper-medium-v2) or a demo "
       "(demo/hopper-medium)",
       &o.dataset},
      {"env", "environment to evaluate in (default: that of the dataset)", &o.env},
      {"physics",
       "physics to evaluate in: d4rl, gymnasium-v4 or gymnasium-v5 (default: as the dataset says, "
       "else d4rl)",
       &o.physics},
      {"top", "train on the best episodes by return: a percentage such as 10%", &o.top},
      {.name = "normalize-over",
       .help = "normalize observations over the kept episodes (kept) or over all rows (all)",
       .value = &o.normalize_over,
       .config_only = true},
      {"targets", "target returns of evaluation (default: the environment's usual ones)",
       &o.targets},
      {"agent", "agent: dt (Decision Transformer) or bc (behaviour cloning)", &o.agent.kind},
      {"attention", "attention: cosformer, softmax, linear, performer, local, flow, identity",
       &dt.attention.kind},
      {"reweight-length",
       "cosformer: distance M in tokens at which its weight is 0 (0: twice the context)",
       &dt.attention.reweight_length},
      {.name = "reweight",
       .help = "cosformer: weight tokens by distance",
       .value = &dt.attention.reweight,
       .config_only = true},
      {"feature-map",
       "cosformer: feature map of queries and keys, elu (ELU + 1) or relu (the paper's)",
       &dt.attention.feature_map},
      {"local-window", "local attention: tokens that each token attends to", &dt.attention.window},
      {"performer-features", "performer: number of random features (0: d ln d)",
       &dt.attention.features},
      {"context", "context length K in steps", &dt.context},
      {"layers", "number of layers (0: the agent's default, 3 for dt, 2 for bc)", &dt.layers,
       &o.agent.bc.layers},
      {"heads", "number of attention heads", &dt.heads},
      {"width", "hidden width (0: the agent's default, 128 for dt, 256 for bc)", &dt.width,
       &o.agent.bc.width},
      {"activation", "activation of the MLPs: relu or gelu", &dt.activation},
      {"dropout", "dropout probability", &dt.dropout},
      {.name = "max-timestep",
       .help = "size of the timestep embedding table (0: 1000, or the task's horizon if longer)",
       .value = &dt.max_timestep,
       .config_only = true},
      {.name = "timestep-std",
       .help = "standard deviation of the initial timestep embeddings (the original: 1)",
       .value = &dt.timestep_std,
       .config_only = true}};
  const auto add = [&](const agents::OptionName& name, auto& field) {
    fields.push_back({name.flag, name.help, &field});
  };
  agents::Visit(o.trainer, add);
  agents::Visit(static_cast<agents::TrainingRunOptions&>(o), add);
  fields.push_back({"episodes", "episodes per target in an evaluation", &o.episodes});
  fields.push_back(
      {"threads", "threads that train (bit-exact resume takes the same number)", &o.threads});
  return fields;
}

std::string CurrentOptionName(const std::string& name) {
  for (const RenamedOption& option : kRenamedOptions) {
    if (name == option.before) return option.now;
  }
  return name;
}

}  // namespace cosdt::experiments
