#include "experiments/runs/train_options.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>
#include <stdexcept>
#include <string_view>

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

// The return that solves a task, or that it is asked for otherwise; none of bodies.
std::optional<double> AskedReturn(const envs::EnvSpec& spec) {
  return spec.success_return ? spec.success_return : spec.target_return;
}

// The targets of the original Decision Transformer's experiments, or a task's AskedReturn.
std::vector<agents::Target> DefaultTargets(const std::string& env) {
  if (env.empty()) return {};
  const std::string body = envs::ParseEnvName(env).body;
  if (body == "hopper") return {3600, 1800};
  if (body == "halfcheetah") return {12000, 6000};
  if (body == "walker2d") return {5000, 2500};
  return {AskedReturn(envs::MakeEnv(env)->spec()).value()};
}

template <class T>
void FillZero(T& field, T value) {
  if (field == 0) field = value;
}

// Agents with critics take no targets, and of the trainer's options only these.
void ExpectTransitionOptions(const TrainOptions& options) {
  const std::string agent = options.agent.name();
  if (!options.targets.empty()) {
    throw std::invalid_argument("targets: expected none for " + agent +
                                ", which takes none, found " +
                                std::to_string(options.targets.size()));
  }
  std::set<std::string_view> taken = {"batch-size", "lr", "return-scale", "seed"};
  if (options.agent.kind == "iql") taken.insert("lr-decay");
  const agents::TrainerOptions usual;
  std::vector<std::string> defaults;
  agents::Visit(usual, [&](const agents::OptionName&, const auto& field) {
    defaults.push_back(nlohmann::json(field).dump());
  });
  size_t i = 0;
  agents::Visit(options.trainer, [&](const agents::OptionName& name, const auto& field) {
    const std::string found = nlohmann::json(field).dump(), expected = defaults[i++];
    if (taken.contains(name.flag) || found == expected) return;
    throw std::invalid_argument(std::string(name.flag) + ": expected " + expected +
                                ", the default, for " + agent + ", which does not read it, found " +
                                found);
  });
}

}  // namespace

TrainOptions::TrainOptions() {
  agent.SetShape(0, 0);
  agent.dt.max_timestep = 0;
  trainer.batch_size = 0;
  trainer.learning_rate = 0;
  trainer.return_scale = 0;
}

void TrainOptions::FillKindDefaults() {
  agents::AgentOptions usual;
  usual.kind = agent.kind;
  int64_t layers = agent.layers(), width = agent.width();
  FillZero(layers, usual.layers());
  FillZero(width, usual.width());
  agent.SetShape(layers, width);
  const agents::TrainerOptions training = agents::UsualTraining(agent.kind);
  FillZero(trainer.batch_size, training.batch_size);
  FillZero(trainer.learning_rate, training.learning_rate);
}

// Returns of a task that is solved or not are about 1, and a timestep has a row of its own in the
// embedding table as far as episodes last.
void TrainOptions::FillDefaults() {
  FillKindDefaults();
  envs::EnvSpec spec;
  if (!env.empty()) spec = envs::MakeEnv(env)->spec();
  if (targets.empty() && !agent.has_critics()) targets = DefaultTargets(env);
  FillZero(trainer.return_scale, AskedReturn(spec).value_or(agents::TrainerOptions().return_scale));
  if (!critic.empty()) FillZero(critic_lambda, agents::CriticGuide::DefaultLambda(env));
  FillZero(agent.dt.max_timestep,
           std::max<int64_t>(agents::DecisionTransformerOptions().max_timestep, spec.horizon));
}

void TrainOptions::FillFrom(const TrainOptions& begun) {
  agents::ForEachKind(agent, [&](auto& own) {
    FillZero(own.layers, begun.agent.layers());
    FillZero(own.width, begun.agent.width());
  });
  FillZero(trainer.batch_size, begun.trainer.batch_size);
  FillZero(trainer.learning_rate, begun.trainer.learning_rate);
  FillZero(agent.dt.max_timestep, begun.agent.dt.max_timestep);
  FillZero(trainer.return_scale, begun.trainer.return_scale);
  FillZero(critic_lambda, begun.critic_lambda);
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
  if (!(validation >= 0 && validation < 100)) {
    throw std::invalid_argument("validation: expected a share from 0 to below 100 %, found " +
                                std::to_string(validation));
  }
  if (normalize_over != "kept" && normalize_over != "all") {
    throw std::invalid_argument("normalize-over: expected kept or all, found " + normalize_over);
  }
  if (!physics.empty()) envs::ParsePhysics(physics);
  if (!(std::isfinite(critic_lambda) && critic_lambda >= 0)) {
    throw std::invalid_argument("critic-lambda: expected 0 or more, found " +
                                std::to_string(critic_lambda));
  }
  if (critic_lambda > 0 && critic.empty()) {
    throw std::invalid_argument("critic-lambda: expected a critic that it weighs, found none");
  }
  if (agent.has_critics() && !critic.empty()) {
    throw std::invalid_argument("critic: expected a dt or bc agent to guide, found " +
                                agent.name());
  }
  if (agent.has_critics()) ExpectTransitionOptions(*this);
  if (!agent.reads_targets() && std::ranges::any_of(targets, &agents::Target::is_auto)) {
    throw std::invalid_argument("targets: expected numbers for " + agent.name() +
                                ", which does not read them, found auto");
  }
}

void TrainOptions::ValidateForAnyData() const {
  TrainOptions probe = *this;
  probe.env = "";
  probe.FillDefaults();
  probe.agent.SetSizes(1, 1);
  probe.Validate();
}

std::vector<TrainField> TrainFields(TrainOptions& o) {
  std::vector<TrainField> fields;
  const auto add = [&](const agents::OptionName& name, auto& value) {
    if (!name.flag) return;
    const auto same = std::ranges::find(fields, std::string_view(name.flag), &TrainField::name);
    if (same != fields.end()) {
      same->values.push_back(&value);
    } else {
      fields.push_back({name.flag, name.help, {&value}, name.config_only});
    }
  };
  const auto add_own = [&](const char* flag, const char* help, auto& value) {
    add({.flag = flag, .help = help}, value);
  };
  add_own("dataset",
          "dataset: a D4RL or Minari file, a D4RL name (hopper-medium-v2) or a demo "
          "(demo/hopper-medium)",
          o.dataset);
  add_own("env", "environment to evaluate in (default: that of the dataset)", o.env);
  add_own("physics",
          "physics to evaluate in: d4rl, gymnasium-v4 or gymnasium-v5 (default: as the dataset "
          "says, else d4rl)",
          o.physics);
  add_own("top", "train on the best episodes by return: a percentage such as 10%", o.top);
  add_own("validation",
          "hold out whole episodes, a percentage such as 5%, and log the loss on them; without "
          "--eval-every the agent with the lowest is kept as the best",
          o.validation);
  add({.flag = "normalize-over",
       .help = "normalize observations over the kept episodes (kept) or over all rows (all)",
       .config_only = true},
      o.normalize_over);
  add_own("targets",
          "target returns of evaluation (default: the environment's usual ones); auto: a network "
          "learns what to ask for at each step (Reinformer)",
          o.targets);
  add_own(
      "critic",
      "guide a dt or bc agent by the critics of this run (folder or checkpoint of td3bc, rebrac "
      "or iql on the same dataset), as QCS does",
      o.critic);
  add_own("critic-lambda", "weight of the critic (0: the published one, 0.5 for hopper, else 1)",
          o.critic_lambda);
  agents::Visit(o.agent, add);
  agents::Visit(o.trainer, add);
  agents::Visit(static_cast<agents::TrainingRunOptions&>(o), add);
  add_own("episodes", "episodes per target in an evaluation", o.episodes);
  add_own("threads", "threads that train (bit-exact resume takes the same number)", o.threads);
  return fields;
}

std::string CurrentOptionName(const std::string& name) {
  for (const RenamedOption& option : kRenamedOptions) {
    if (name == option.before) return option.now;
  }
  return name;
}

}  // namespace cosdt::experiments
