// Statistics of episodes' returns, as JSON and as lines for a reader.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "agents/rollout/rollout.h"
#include "envs/env.h"
#include "envs/model.h"
#include "envs/seeding.h"
#include "experiments/scores/statistics.h"

namespace cosdt::experiments {

// Statistics of the returns of episodes, or of runs' mean returns. Members are named as their JSON
// keys are.
struct ReturnStatistics {
  double mean = 0, std = 0, standard_error = 0, iqm = 0;
  Interval iqm_ci;
  std::optional<double> normalized_score;       // only of tasks that D4RL scores
  std::optional<Interval> normalized_score_ci;  // likewise
  std::optional<double> success_rate;           // only of tasks that are solved or not
};

// Statistics of episodes.
struct EpisodeStatistics : ReturnStatistics {
  std::vector<double> returns;
  std::vector<int> lengths;  // in steps
  int diverged = 0;
};

// In JSON an interval is [low, high]; success_rate is left out if it is empty, other optional
// values are null; score_scale says whose constants normalize scores, "d4rl", or is null. Reading
// throws nlohmann::json::exception if a key is missing or of another type.
void to_json(nlohmann::json& to, const Interval& from);
void from_json(const nlohmann::json& from, Interval& to);
void to_json(nlohmann::json& to, const ReturnStatistics& from);
void from_json(const nlohmann::json& from, ReturnStatistics& to);
void to_json(nlohmann::json& to, const EpisodeStatistics& from);
void from_json(const nlohmann::json& from, EpisodeStatistics& to);

// The physics mode's name; none for a task without a simulator.
std::optional<std::string> DescribePhysics(const envs::EnvSpec& spec, envs::Physics physics);

// ", d4rl physics"; "" without one.
std::string PhysicsText(const std::optional<std::string>& physics);

// "seed 0"; "seed 0 by gym's seeding" if it is gym's.
std::string SeedText(uint64_t seed, envs::Seeding seeding);

// All but success_rate. Intervals are drawn with `seed`.
ReturnStatistics DescribeReturns(std::span<const double> returns, const envs::EnvSpec& spec,
                                 uint64_t seed);

// The success rate is the share of the episodes that solved the task.
EpisodeStatistics DescribeEpisodes(const agents::RolloutResult& result, const envs::EnvSpec& spec,
                                   uint64_t seed);

void PrintReturns(const ReturnStatistics& statistics);

// The same with lengths and episodes that diverged.
void PrintEpisodes(const EpisodeStatistics& statistics);

}  // namespace cosdt::experiments
