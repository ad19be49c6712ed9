#include "agents/rollout/collect.h"

#include <algorithm>
#include <limits>
#include <map>
#include <random>
#include <stdexcept>
#include <string>

#include "agents/rollout/transition_bytes.h"
#include "attention/parallel.h"
#include "envs/mujoco_env.h"
#include "envs/vector_env.h"

namespace cosdt::agents {
namespace {

// Bodies in lock step: no more than the requested episodes, or most would be played for nothing.
// The result does not depend on their number.
constexpr int kMinBodies = 4, kMaxBodies = 64;

int Bodies(const envs::EnvSpec& spec, const CollectOptions& options) {
  const int64_t episodes = options.transitions / spec.horizon + 1;
  return static_cast<int>(std::clamp<int64_t>(episodes, kMinBodies, kMaxBodies));
}

// Episodes first, first + step, .., which begin as long as transitions are missing.
struct EpisodeNumbers {
  uint64_t first = 0, step = 1, count = std::numeric_limits<uint64_t>::max();
};

// An episode being played, or waiting for those before it.
struct Episode {
  int row = -1;  // of the vector, -1 once ended
  size_t policy = 0;
  datasets::Transitions steps;
};

template <typename To, typename From>
void Append(To& to, const From& from) {
  to.insert(to.end(), from.begin(), from.end());
}

class Collector {
 public:
  Collector(const envs::Env& prototype, const std::vector<WeightedPolicy>& policies,
            const CollectOptions& options, EpisodeNumbers numbers = {})
      : policies_(policies),
        options_(options),
        numbers_(numbers),
        pool_(options.threads),
        envs_(prototype, Bodies(prototype.spec(), options), pool_),
        noise_(envs_.size()) {
    for (const WeightedPolicy& p : policies) weights_.push_back(p.weight);
    result_.observation_size = prototype.spec().observation_size;
    result_.action_size = prototype.spec().action_size;
    result_.discrete_actions = prototype.spec().discrete_actions;
    // a body as it is makes a file of D4RL's arrays, which says no task
    const bool is_body = dynamic_cast<const envs::MujocoEnv*>(&prototype) != nullptr;
    if (!is_body) result_.task = prototype.spec().name;
    if (const auto* const body =
            dynamic_cast<const envs::MujocoEnv*>(&prototype.fully_observed())) {
      result_.physics = PhysicsName(body->physics());
      result_.mujoco_version = envs::MujocoVersion();
      result_.nq = body->nq();
      result_.nv = body->nv();
    }
    empty_ = result_;
  }

  datasets::Transitions Run() {
    for (int row = 0; row < envs_.size(); ++row) idle_.push_back(row);
    while (static_cast<int64_t>(result_.rows()) < options_.transitions) {
      StartEpisodes();
      if (episodes_.empty()) return std::move(result_);  // of the numbers all have ended
      StepAll();
      if (options_.group) options_.group->Progress();
      TakeEnded();
    }
    datasets::Resize(result_, options_.transitions);
    return std::move(result_);
  }

 private:
  // Every idle row gets the next episode, unless those before it fill the file already.
  void StartEpisodes() {
    int64_t steps = static_cast<int64_t>(result_.rows());
    for (const auto& [number, episode] : episodes_) {
      steps += static_cast<int64_t>(episode.steps.rows());
    }
    while (!idle_.empty() && steps < options_.transitions && started_ < numbers_.count) {
      const uint64_t number = numbers_.first + started_ * numbers_.step;
      Episode episode;
      episode.row = idle_.back();
      idle_.pop_back();
      episode.steps = empty_;
      // two streams per episode: its own, and which policy plays it
      noise_[episode.row] = envs::MakeRng(options_.seed, 2 * number);
      envs::Rng choice = envs::MakeRng(options_.seed, 2 * number + 1);
      episode.policy = std::discrete_distribution<size_t>(weights_.begin(), weights_.end())(choice);
      envs_.Reset(episode.row, envs::StreamSeed(options_.seed, 2 * number));
      episodes_.emplace(started_++, std::move(episode));
    }
  }

  void StepAll() {
    std::vector<int> rows;
    std::vector<float> actions;
    for (size_t p = 0; p < policies_.size(); ++p) Act(p, rows, actions);
    std::vector<int> order(envs_.size());
    for (size_t i = 0; i < rows.size(); ++i) order[rows[i]] = static_cast<int>(i);
    for (auto& [number, episode] : episodes_) {
      if (episode.row < 0) continue;
      Append(episode.steps.observations, envs_.observation(episode.row));
      if (empty_.nq > 0) {
        const auto& body =
            dynamic_cast<const envs::MujocoEnv&>(envs_.env(episode.row).fully_observed());
        Append(episode.steps.qpos, body.qpos());
        Append(episode.steps.qvel, body.qvel());
      }
      const size_t width = empty_.action_size;
      Append(episode.steps.actions, std::span(actions).subspan(order[episode.row] * width, width));
    }
    envs_.Step(rows, actions);
    for (auto& [number, episode] : episodes_) {
      if (episode.row < 0) continue;
      const envs::StepResult& step = envs_.result(episode.row);
      episode.steps.rewards.push_back(static_cast<float>(step.reward));
      Append(episode.steps.next_observations, envs_.observation(episode.row));
      episode.steps.terminals.push_back(step.terminated && !step.truncated);
      episode.steps.timeouts.push_back(step.truncated);
      if (!step.terminated && !step.truncated) continue;
      idle_.push_back(episode.row);
      episode.row = -1;
    }
  }

  // Adds the rows and actions of the episodes that follow policy `p`.
  void Act(size_t p, std::vector<int>& rows, std::vector<float>& actions) {
    std::vector<Episode*> acting;
    std::vector<float> observations;
    std::vector<envs::Rng*> rngs;
    for (auto& [number, episode] : episodes_) {
      if (episode.row < 0 || episode.policy != p) continue;
      acting.push_back(&episode);
      Append(observations, envs_.full_observation(episode.row));
      rngs.push_back(&noise_[episode.row]);
      rows.push_back(episode.row);
    }
    if (acting.empty()) return;
    const size_t begin = actions.size();
    std::vector<float> log_probs(acting.size());
    actions.resize(begin + acting.size() * empty_.action_size);
    policies_[p].policy->Act(observations, rngs, std::span(actions).subspan(begin), log_probs);
    for (size_t i = 0; i < acting.size(); ++i) acting[i]->steps.log_probs.push_back(log_probs[i]);
  }

  // Moves episodes to the result in their order; the one that fills it need not have ended.
  void TakeEnded() {
    while (!episodes_.empty()) {
      const Episode& first = episodes_.begin()->second;
      const auto steps = static_cast<int64_t>(result_.rows() + first.steps.rows());
      if (first.row >= 0 && steps < options_.transitions) return;
      datasets::Append(result_, first.steps);
      episodes_.erase(episodes_.begin());
      if (options_.progress) options_.progress(std::min(steps, options_.transitions));
      if (steps >= options_.transitions) return;
    }
  }

  const std::vector<WeightedPolicy>& policies_;
  const CollectOptions& options_;
  EpisodeNumbers numbers_;
  std::vector<double> weights_;
  envs::ThreadPool pool_;
  envs::VectorEnv envs_;
  std::vector<envs::Rng> noise_;          // of each row's policy
  std::vector<int> idle_;                 // rows without an episode
  std::map<uint64_t, Episode> episodes_;  // by their index, those not in the result yet
  uint64_t started_ = 0;
  datasets::Transitions empty_, result_;
};

// Rounds of whole episodes, as many as are likely to be missing: rank r plays every size-th from
// the r-th on.
datasets::Transitions CollectTogether(const envs::Env& prototype,
                                      const std::vector<WeightedPolicy>& policies,
                                      const CollectOptions& options) {
  ProcessGroup& group = *options.group;
  const ProcessGroup::Computation computation(&group);
  const auto size = static_cast<uint64_t>(group.size()), rank = static_cast<uint64_t>(group.rank());
  CollectOptions whole = options;
  whole.transitions = std::numeric_limits<int64_t>::max();
  whole.progress = nullptr;
  datasets::Transitions result;
  uint64_t played = 0;  // episodes
  while (static_cast<int64_t>(result.rows()) < options.transitions) {
    const uint64_t missing = static_cast<uint64_t>(options.transitions) - result.rows();
    const uint64_t length =
        played > 0 ? result.rows() / played : static_cast<uint64_t>(prototype.spec().horizon);
    const uint64_t count = missing / (length * size) + 1;
    const datasets::Transitions own =
        Collector(prototype, policies, whole, {played + rank, size, count}).Run();
    std::vector<std::vector<datasets::Transitions>> episodes;  // by rank
    for (const std::string& bytes : group.Gather(ToBytes(own))) {
      episodes.push_back(SplitEpisodes(FromBytes(own, bytes)));
    }
    for (uint64_t i = 0; i < count; ++i) {
      for (uint64_t r = 0; r < size; ++r) datasets::Append(result, episodes[r].at(i));
    }
    played += count * size;
    const auto rows = static_cast<int64_t>(result.rows());
    if (options.progress) options.progress(std::min(rows, options.transitions));
  }
  datasets::Resize(result, static_cast<size_t>(options.transitions));
  return result;
}

}  // namespace

void CollectOptions::Validate() const {
  if (transitions < 1) {
    throw std::invalid_argument("transitions: expected at least 1, found " +
                                std::to_string(transitions));
  }
  if (threads < 1) {
    throw std::invalid_argument("threads: expected at least 1, found " + std::to_string(threads));
  }
}

datasets::Transitions Collect(const envs::Env& prototype,
                              const std::vector<WeightedPolicy>& policies,
                              const CollectOptions& options) {
  options.Validate();
  double sum = 0;
  for (const WeightedPolicy& p : policies) {
    if (!(p.weight >= 0)) {
      throw std::invalid_argument("policy: expected a weight of 0 or more, found " +
                                  std::to_string(p.weight));
    }
    sum += p.weight;
  }
  if (!(sum > 0))
    throw std::invalid_argument("policy: expected one of positive weight, found none");
  const attention::OneThread one;  // of LibTorch: policies compute small blocks, side by side
  return options.group ? CollectTogether(prototype, policies, options)
                       : Collector(prototype, policies, options).Run();
}

}  // namespace cosdt::agents
