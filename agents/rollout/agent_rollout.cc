#include "agents/rollout/agent_rollout.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <stdexcept>
#include <string>

#include "agents/rollout/play_together.h"
#include "envs/vector_env.h"

namespace cosdt::agents {
namespace {

// One wave of episodes: row i plays episode first + i, counted over all targets.
class Wave {
 public:
  Wave(const envs::Env& prototype, AgentSession& session, const AgentRolloutOptions& options,
       envs::EpisodeStarts& starts, int first, int count)
      : session_(session),
        options_(options),
        envs_(prototype, count, session.pool()),
        first_(first),
        rows_(count) {
    std::iota(rows_.begin(), rows_.end(), 0);
    std::vector<Target> targets(count, 0.0);
    std::vector<uint64_t> seeds;
    for (const int row : rows_) {
      if (options.sample_actions || (options.critic && options.critic->candidates() > 1)) {
        // a stream of its own beside the environment's, the same for every target
        seeds.push_back(envs::StreamSeed(~options.seed, Episode(row)));
      }
      starts.Start(envs_, row, Episode(row));
      if (!options.targets.empty()) targets[row] = options.targets[TargetOf(row)];
      Watch(row);
    }
    session.Reset(targets, seeds);
  }

  // Plays all episodes to their end.
  void Play(std::vector<RolloutResult>& results) {
    while (!rows_.empty()) {
      Step();
      if (options_.group) options_.group->Progress();
      std::vector<int> kept;  // places in rows_
      for (size_t i = 0; i < rows_.size(); ++i) {
        if (!Account(rows_[i], results[TargetOf(rows_[i])])) kept.push_back(static_cast<int>(i));
      }
      ++step_;
      if (options_.progress) {
        const double running = static_cast<double>(step_) / envs_.spec().horizon;
        options_.progress(first_ + envs_.size() + static_cast<double>(kept.size()) * (running - 1));
      }
      if (kept.size() == rows_.size()) continue;
      for (size_t i = 0; i < kept.size(); ++i) rows_[i] = rows_[kept[i]];
      rows_.resize(kept.size());
      if (!kept.empty()) session_.Keep(kept);
    }
  }

 private:
  size_t TargetOf(int row) const { return (first_ + row) / options_.episodes; }
  int Episode(int row) const { return (first_ + row) % options_.episodes; }

  void Watch(int row) const {
    if (options_.watch && first_ + row == 0) options_.watch(envs_.env(row));
  }

  // One decision and step of the rows that still run.
  void Step() {
    const int size = envs_.spec().observation_size;
    observations_.resize(rows_.size() * size);
    rewards_.resize(rows_.size());
    for (size_t i = 0; i < rows_.size(); ++i) {
      std::ranges::copy(envs_.observation(rows_[i]),
                        observations_.begin() + static_cast<ptrdiff_t>(i) * size);
      rewards_[i] = envs_.result(rows_[i]).reward;
    }
    const std::span<const double> actions = session_.Act(observations_, rewards_);
    actions_.assign(actions.begin(), actions.end());
    envs_.Step(rows_, actions_);
  }

  // Takes the row's step into account. Whether its episode has ended.
  bool Account(int row, RolloutResult& result) {
    const envs::StepResult& step = envs_.result(row);
    result.returns[Episode(row)] += step.reward;
    ++result.lengths[Episode(row)];
    Watch(row);
    if (!step.terminated && !step.truncated) return false;
    result.diverged += envs_.env(row).diverged();
    return true;
  }

  AgentSession& session_;
  const AgentRolloutOptions& options_;
  envs::VectorEnv envs_;
  int first_, step_ = 0;
  std::vector<int> rows_;  // that still run, ascending
  std::vector<double> observations_, rewards_;
  std::vector<float> actions_;
};

}  // namespace

void AgentRolloutOptions::Validate() const {
  RolloutOptions{.episodes = episodes, .seed = seed, .threads = threads}.Validate();
  for (const Target& target : targets) {
    if (!target.is_auto() && !std::isfinite(target.value())) {
      throw std::invalid_argument("targets: expected finite values, found " +
                                  std::to_string(target.value()));
    }
  }
}

void CheckFits(const Agent& agent, const envs::EnvSpec& spec) {
  const int64_t observations = agent.options().observation_size();
  const int64_t actions = agent.options().action_size();
  const int64_t discrete = agent.options().discrete_actions();
  if (observations == spec.observation_size && actions == spec.action_size &&
      discrete == spec.discrete_actions) {
    return;
  }
  const auto sizes = [](int64_t o, int64_t a, int64_t n) {
    return std::to_string(o) + " observations and " +
           (n > 0 ? "Discrete(" + std::to_string(n) + ") actions" : std::to_string(a) + " actions");
  };
  throw std::invalid_argument(
      "expected an agent for the " +
      sizes(spec.observation_size, spec.action_size, spec.discrete_actions) + " of " + spec.name +
      ", found one for " + sizes(observations, actions, discrete));
}

std::vector<RolloutResult> RolloutAgent(const envs::Env& prototype, const Checkpoint& checkpoint,
                                        const AgentRolloutOptions& options) {
  options.Validate();
  const AgentOptions& agent = checkpoint.agent->options();
  CheckFits(*checkpoint.agent, prototype.spec());
  if (!agent.reads_targets() && !options.targets.empty()) {
    throw std::invalid_argument("targets: expected none for " + agent.name() + ", found " +
                                std::to_string(options.targets.size()));
  }
  if (agent.reads_targets() && options.targets.empty()) {
    throw std::invalid_argument("targets: expected at least one, found none");
  }
  ExpectPredictorFor(options.targets, checkpoint.info.return_predictor.get());
  if (options.sample_actions && agent.discrete_actions() == 0) {
    throw std::invalid_argument("sample-actions: expected an agent with discrete actions, found " +
                                std::to_string(agent.action_size()) + " continuous ones");
  }
  AgentSession session(checkpoint, {.decode = options.decode,
                                    .horizon = prototype.spec().horizon,
                                    .compute_type = options.compute_type,
                                    .threads = options.threads,
                                    .critic = options.critic});
  envs::EpisodeStarts starts(prototype.spec(), options.seeding, options.seed);
  std::vector<RolloutResult> results(std::max<size_t>(1, options.targets.size()));
  for (RolloutResult& result : results) {
    result.returns.resize(options.episodes);
    result.lengths.resize(options.episodes);
  }
  const int all = static_cast<int>(results.size()) * options.episodes;
  const ProcessGroup::Share share = EpisodesOf(options.group, all);
  const int64_t most = session.RowsAtOnce(), waves = (share.count + most - 1) / most;
  AgentRolloutOptions own = options;
  if (options.group && options.progress) {
    own.progress = [&](double episodes) {
      options.progress((episodes - static_cast<double>(share.first)) * all /
                       static_cast<double>(share.count));
    };
  }
  PlayTogether(options.group, results, [&] {
    for (int64_t wave = 0; wave < waves; ++wave) {
      const auto begin = [&](int64_t w) {
        return static_cast<int>(share.first + w * share.count / waves);
      };
      Wave(prototype, session, own, starts, begin(wave), begin(wave + 1) - begin(wave))
          .Play(results);
    }
  });
  return results;
}

}  // namespace cosdt::agents
