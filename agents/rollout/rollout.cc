#include "agents/rollout/rollout.h"

#include <algorithm>
#include <stdexcept>
#include <string>

#include "agents/rollout/play_together.h"
#include "envs/vector_env.h"

namespace cosdt::agents {
namespace {

// Bodies side by side: a policy computes 32 rows at once, and more simulations per thread leave its
// cache. The second bounds memory.
constexpr int kPerThread = 32, kMaxBodiesAtOnce = 256;

// Plays the episodes of the share.
void Play(const envs::Env& prototype, Policy& policy, const RolloutOptions& options,
          ProcessGroup::Share share, RolloutResult& result) {
  const int end = static_cast<int>(share.first + share.count);
  int started = static_cast<int>(share.first);
  envs::EpisodeStarts starts(prototype.spec(), options.seeding, options.seed);
  envs::ThreadPool pool(options.threads);
  const int bodies = std::min({end - started, kPerThread * options.threads, kMaxBodiesAtOnce});
  envs::VectorEnv envs(prototype, bodies, pool);
  const int observation_size = envs.full_observation_size();
  const int action_size = envs.spec().action_size;

  std::vector<int> episodes(envs.size());     // of each row
  std::vector<envs::Rng> noise(envs.size());  // of each row's policy
  std::vector<int> rows;                      // that still run

  const auto start = [&](int row) {
    episodes[row] = started++;
    noise[row] = envs::MakeRng(options.seed, episodes[row]);
    starts.Start(envs, row, episodes[row]);
    if (options.watch && episodes[row] == 0) options.watch(envs.env(row));
  };
  for (int row = 0; row < envs.size(); ++row) {
    start(row);
    rows.push_back(row);
  }

  std::vector<float> observations, actions;
  std::vector<envs::Rng*> rngs;
  while (!rows.empty()) {
    observations.resize(rows.size() * observation_size);
    actions.resize(rows.size() * action_size);
    rngs.clear();
    auto out = observations.begin();
    for (const int row : rows) {
      out = std::ranges::copy(envs.full_observation(row), out).out;
      rngs.push_back(&noise[row]);
    }
    policy.Act(observations, rngs, actions);
    envs.Step(rows, actions);
    if (options.group) options.group->Progress();

    std::erase_if(rows, [&](int row) {
      const int episode = episodes[row];
      const envs::StepResult& step = envs.result(row);
      result.returns[episode] += step.reward;
      ++result.lengths[episode];
      if (options.watch && episode == 0) options.watch(envs.env(row));
      if (!step.terminated && !step.truncated) return false;
      result.diverged += envs.env(row).diverged();
      if (started == end) return true;
      start(row);
      return false;
    });
  }
}

}  // namespace

void RolloutOptions::Validate() const {
  if (episodes < 1) {
    throw std::invalid_argument("episodes: expected at least 1, found " + std::to_string(episodes));
  }
  if (threads < 1) {
    throw std::invalid_argument("threads: expected at least 1, found " + std::to_string(threads));
  }
}

RolloutResult Rollout(const envs::Env& prototype, Policy& policy, const RolloutOptions& options) {
  options.Validate();
  RolloutResult result;
  result.returns.resize(options.episodes);
  result.lengths.resize(options.episodes);
  const ProcessGroup::Share share = EpisodesOf(options.group, options.episodes);
  PlayTogether(options.group, {&result, 1}, [&] {
    if (share.count > 0) Play(prototype, policy, options, share, result);
  });
  return result;
}

}  // namespace cosdt::agents
