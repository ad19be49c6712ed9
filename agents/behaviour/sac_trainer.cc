#include "agents/behaviour/sac_trainer.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <limits>
#include <numeric>
#include <random>
#include <stdexcept>

#include "agents/policies/gaussian_policy.h"
#include "agents/rollout/rollout.h"
#include "datasets/atomic_file.h"
#include "datasets/hdf5_file.h"
#include "datasets/hdf5_writer.h"

namespace cosdt::agents {
namespace {

// Streams of the seed: one for the initial parameters, then four kinds that interleave.
constexpr uint64_t kInitialization = 0;
uint64_t EpisodeStream(uint64_t episode) { return 4 * episode + 1; }
uint64_t ActionStream(uint64_t step) { return 4 * step + 2; }
uint64_t UpdateStream(uint64_t step) { return 4 * step + 3; }
uint64_t EvaluationStream(uint64_t step) { return 4 * step + 4; }

constexpr uint64_t kCurveColumns = 5;

std::unique_ptr<envs::MujocoEnv> CloneBody(const envs::MujocoEnv& env) {
  std::unique_ptr<envs::Env> copy = env.Clone();
  return std::unique_ptr<envs::MujocoEnv>(dynamic_cast<envs::MujocoEnv*>(copy.release()));
}

const SacTrainingOptions& Valid(const SacTrainingOptions& options) {
  options.Validate();
  return options;
}

// A value in the fewest digits that give it again.
template <typename T>
std::string Text(T value) {
  char text[64];
  return std::string(text, std::to_chars(text, text + sizeof text, value).ptr);
}

}  // namespace

void SacTrainingOptions::Validate() const {
  const auto expect = [](const char* field, int64_t value, int64_t least) {
    if (value >= least) return;
    throw std::invalid_argument(std::string(field) + ": expected at least " +
                                std::to_string(least) + ", found " + std::to_string(value));
  };
  expect("steps", steps, 1);
  expect("random_steps", random_steps, 0);
  expect("evaluate_every", evaluate_every, 1);
  expect("evaluation_episodes", evaluation_episodes, 1);
  for (const int64_t step : save_steps) expect("save_steps", step, 1);
  sac.Validate();
}

SacTrainer::SacTrainer(const envs::MujocoEnv& env, const SacTrainingOptions& options,
                       std::string folder, bool resume)
    : env_(CloneBody(env)),
      options_(Valid(options)),
      folder_(std::move(folder)),
      lock_(folder_),
      sac_(env.spec(), options.sac, envs::StreamSeed(options.seed, kInitialization)),
      log_(env.spec(), options.steps, folder_ + "/transitions.f32"),
      observation_(env.spec().observation_size) {
  datasets::RemoveTemporaries(folder_);
  const std::string state = folder_ + "/state.hdf5";
  if (std::filesystem::exists(state)) {
    if (!resume) {
      throw std::runtime_error(folder_ +
                               ": expected a folder without a run, found one (to resume it, "
                               "resume)");
    }
    Load();
  }
  ResumeEpisode();
}

void SacTrainer::Run(const std::function<void(const SacProgress&)>& progress,
                     const std::function<bool()>& stop) {
  while (step() < options_.steps && !(stop && stop())) {
    TakeStep();
    SacLosses losses;
    if (step() > options_.random_steps) losses = Update();
    if (std::ranges::count(options_.save_steps, step())) {
      SavePolicy(Text(step()));
    }
    if (step() % options_.evaluate_every == 0) Evaluate(losses);
    if (progress) progress({step(), curve_.empty() ? 0 : curve_.back().mean});
  }
  if (step() != saved_step_) Save();
}

void SacTrainer::TakeStep() {
  const int64_t t = step();
  const auto size = static_cast<size_t>(env_->spec().action_size);
  std::vector<float> observation(observation_.begin(), observation_.end());
  std::vector<float> action(size);
  envs::Rng rng = envs::MakeRng(options_.seed, ActionStream(t));
  float log_prob = 0;
  if (t < options_.random_steps) {
    std::uniform_real_distribution<float> uniform(-1, 1);
    for (float& a : action) a = uniform(rng);
    log_prob = static_cast<float>(size) * std::log(0.5f);
  } else {
    log_prob = sac_.Act(observation, rng, action);
  }
  const envs::StepResult result = env_->Step(std::vector<double>(action.begin(), action.end()));
  env_->Observe(observation_);
  const std::vector<float> next(observation_.begin(), observation_.end());
  log_.Append({.observation = observation,
               .action = action,
               .next_observation = next,
               .reward = static_cast<float>(result.reward),
               .log_prob = log_prob,
               .terminal = result.terminated && !result.truncated,
               .timeout = result.truncated});
  if (!result.terminated && !result.truncated) return;
  env_->Reset(envs::StreamSeed(options_.seed, EpisodeStream(++episode_)));
  env_->Observe(observation_);
}

SacLosses SacTrainer::Update() {
  const auto generator = at::make_generator<at::CPUGeneratorImpl>(
      envs::StreamSeed(options_.seed, UpdateStream(step())));
  const int64_t rows = options_.sac.batch_size;
  const torch::Tensor steps = torch::randint(step(), {rows}, generator, torch::kLong);
  const torch::Tensor noise = torch::randn({2 * rows, env_->spec().action_size}, generator);
  const SacLosses losses = sac_.ComputeGradients(log_.Gather(steps), noise);
  if (!std::isfinite(losses.critic) || !std::isfinite(losses.policy) ||
      !std::isfinite(losses.temperature)) {
    throw std::runtime_error(
        folder_ + ": step " + std::to_string(step()) + ": expected finite losses, found critic " +
        Text(losses.critic) + ", policy " + Text(losses.policy) + ", temperature " +
        Text(losses.temperature) +
        (saved_step_ > 0 ? "; the last save is of step " + std::to_string(saved_step_)
                         : "; nothing was saved before"));
  }
  sac_.Step();
  return losses;
}

void SacTrainer::Evaluate(const SacLosses& losses) {
  GaussianPolicy policy(sac_.weights(), true);
  const RolloutOptions rollout = {
      .episodes = options_.evaluation_episodes,
      .seed = envs::StreamSeed(options_.seed, EvaluationStream(step()))};
  const std::vector<double> returns = Rollout(*env_, policy, rollout).returns;
  const auto n = static_cast<double>(returns.size());
  const double mean = std::accumulate(returns.begin(), returns.end(), 0.0) / n;
  double variance = 0;
  for (const double r : returns) variance += std::pow(r - mean, 2) / n;
  const SacEvaluation evaluation = {.step = step(),
                                    .mean = static_cast<float>(mean),
                                    .std = static_cast<float>(std::sqrt(variance)),
                                    .alpha = losses.alpha,
                                    .critic_loss = losses.critic,
                                    .entropy = losses.entropy};
  const auto reached = [&](double level) {
    return std::ranges::any_of(curve_, [&](const SacEvaluation& e) { return e.mean >= level; });
  };
  if (!reached(evaluation.mean)) SavePolicy("best");
  for (const double level : options_.save_returns) {
    if (evaluation.mean >= level && !reached(level)) SavePolicy(Text(step()));
  }
  curve_.push_back(evaluation);
  Save();
}

std::vector<SavedPolicy> SacTrainer::policies() const {
  std::vector<SavedPolicy> saved;
  const auto add = [&](const std::string& name, int64_t step) {
    double mean = 0;
    for (const SacEvaluation& e : curve_) {
      if (e.step <= step) mean = e.mean;
    }
    saved.push_back({folder_ + "/policy-" + name + ".hdf5", step, mean});
  };
  std::vector<int64_t> steps;
  for (const int64_t s : options_.save_steps) {
    if (s <= step()) steps.push_back(s);
  }
  for (const double level : options_.save_returns) {
    const auto first =
        std::ranges::find_if(curve_, [&](const SacEvaluation& e) { return e.mean >= level; });
    if (first != curve_.end()) steps.push_back(first->step);
  }
  std::ranges::sort(steps);
  const auto repeated = std::ranges::unique(steps);
  steps.erase(repeated.begin(), repeated.end());
  for (const int64_t s : steps) add(Text(s), s);
  if (!curve_.empty())
    add("best", std::ranges::max_element(curve_, {}, &SacEvaluation::mean)->step);
  if (saved_step_ > 0) add("last", saved_step_);
  return saved;
}

void SacTrainer::SavePolicy(const std::string& name) const {
  datasets::Hdf5Writer writer(folder_ + "/policy-" + name + ".hdf5");
  writer.Text("metadata/algorithm", "SAC");
  writer.Integer("metadata/iteration", static_cast<int32_t>(step()));
  datasets::WritePolicy(sac_.weights(), writer);
  writer.Commit();
}

std::vector<std::pair<std::string, std::string>> SacTrainer::Fixed() const {
  std::vector<std::pair<std::string, std::string>> fixed = {
      {"env", env_->spec().name}, {"physics", PhysicsName(env_->physics())}};
  Visit(options_,
        [&](const char* name, const auto& field) { fixed.emplace_back(name, Text(field)); });
  fixed.emplace_back("threads", Text(at::get_num_threads()));
  return fixed;
}

void SacTrainer::Save() {
  SavePolicy("last");
  log_.Flush();  // before the state that counts its rows
  datasets::Hdf5Writer state(folder_ + "/state.hdf5");
  for (const auto& [name, value] : Fixed()) state.Text("options/" + name, value);
  state.Text("steps", Text(step()));
  state.Text("transitions_checksum", Text(log_.checksum()));
  for (const auto& [name, tensor] : sac_.State()) {
    state.Array(name, {static_cast<uint64_t>(tensor.numel())},
                std::span(tensor.const_data_ptr<float>(), tensor.numel()));
  }
  std::string csv = "step,return_mean,return_std,alpha,critic_loss,entropy\n";
  std::vector<float> values;
  for (const SacEvaluation& e : curve_) {
    csv.append(Text(e.step));
    for (const float x : {e.mean, e.std, e.alpha, e.critic_loss, e.entropy}) {
      csv.append(",").append(Text(x));
      values.push_back(x);
    }
    csv.append("\n");
  }
  if (!curve_.empty()) {
    state.Array("curve", {curve_.size(), kCurveColumns}, std::span<const float>(values));
  }
  datasets::WriteFile(folder_ + "/curve.csv", csv);
  state.Commit();  // last: a run that resumes from here writes nothing of this step again
  saved_step_ = step();
}

void SacTrainer::Load() {
  const datasets::Hdf5File state(folder_ + "/state.hdf5");
  for (const auto& [name, value] : Fixed()) {
    const std::string found = state.ReadString("options/" + name);
    if (found != value) throw datasets::FileError(state.path(), "options/" + name, value, found);
  }
  const auto number = [&](const std::string& key, int64_t max) {
    const std::string text = state.ReadString(key);
    int64_t value = -1;
    std::from_chars(text.data(), text.data() + text.size(), value);
    if (value >= 0 && value <= max) return value;
    throw datasets::FileError(state.path(), key, "a value from 0 to " + Text(max), text);
  };
  const int64_t steps = number("steps", options_.steps);
  const int64_t checksum = number("transitions_checksum", std::numeric_limits<uint32_t>::max());
  for (const auto& [name, tensor] : sac_.State()) {
    const std::vector<float> values =
        state.ReadFloats(name, {static_cast<uint64_t>(tensor.numel())});
    std::ranges::copy(values, tensor.data_ptr<float>());
  }
  const auto evaluations = static_cast<uint64_t>(steps / options_.evaluate_every);
  if (evaluations > 0) {
    const std::vector<float> curve = state.ReadFloats("curve", {evaluations, kCurveColumns});
    for (uint64_t i = 0; i < evaluations; ++i) {
      const float* const e = curve.data() + i * kCurveColumns;
      const int64_t step = static_cast<int64_t>(i + 1) * options_.evaluate_every;
      curve_.push_back({step, e[0], e[1], e[2], e[3], e[4]});
    }
  }
  log_.Load(steps, static_cast<uint32_t>(checksum));
  saved_step_ = steps;
}

void SacTrainer::ResumeEpisode() {
  int64_t begin = 0;
  for (int64_t i = 0; i < log_.size(); ++i) {
    if (!log_[i].terminal && !log_[i].timeout) continue;
    ++episode_;
    begin = i + 1;
  }
  env_->Reset(envs::StreamSeed(options_.seed, EpisodeStream(episode_)));
  env_->Observe(observation_);
  for (int64_t i = begin; i < log_.size(); ++i) {
    const std::span<const float> action = log_[i].action;
    env_->Step(std::vector<double>(action.begin(), action.end()));
    env_->Observe(observation_);
    const auto same = [](float logged, double now) { return logged == static_cast<float>(now); };
    if (!std::ranges::equal(log_[i].next_observation, observation_, same)) {
      throw datasets::FileError(folder_ + "/transitions.f32", "step " + std::to_string(i),
                                "the observation that its action gives again",
                                "another (was it made by another machine?)");
    }
  }
}

datasets::Transitions SacTrainer::Replay() const {
  datasets::Transitions replay;
  replay.observation_size = env_->spec().observation_size;
  replay.action_size = env_->spec().action_size;
  replay.physics = PhysicsName(env_->physics());
  replay.mujoco_version = envs::MujocoVersion();
  replay.nq = env_->nq();
  replay.nv = env_->nv();
  const auto append = [](auto& to, const auto& from) {
    to.insert(to.end(), from.begin(), from.end());
  };
  const std::unique_ptr<envs::MujocoEnv> env = CloneBody(*env_);
  uint64_t episode = 0;
  env->Reset(envs::StreamSeed(options_.seed, EpisodeStream(episode)));
  for (int64_t i = 0; i < log_.size(); ++i) {
    const TransitionLog::Step step = log_[i];
    append(replay.observations, step.observation);
    append(replay.actions, step.action);
    append(replay.next_observations, step.next_observation);
    append(replay.qpos, env->qpos());
    append(replay.qvel, env->qvel());
    replay.rewards.push_back(step.reward);
    replay.log_probs.push_back(step.log_prob);
    replay.terminals.push_back(step.terminal);
    replay.timeouts.push_back(step.timeout);
    env->Step(std::vector<double>(step.action.begin(), step.action.end()));
    if (step.terminal || step.timeout) {
      env->Reset(envs::StreamSeed(options_.seed, EpisodeStream(++episode)));
    }
  }
  return replay;
}

}  // namespace cosdt::agents
