// What the program says of episodes' returns, in JSON and in words.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <span>
#include <string>

#include "agents/rollout/rollout.h"
#include "envs/env.h"
#include "envs/model.h"

namespace cosdt::experiments {

// The physics mode's name; null of a task without a simulator.
nlohmann::json DescribePhysics(const envs::EnvSpec& spec, envs::Physics physics);

// ", d4rl physics" of a report whose physics DescribePhysics gave; "" where it is null.
std::string PhysicsText(const nlohmann::json& report);

// "seed 0" of a report, "seed 0 by gym's seeding" where that was asked for.
std::string SeedText(const nlohmann::json& report);

// mean, std, standard_error, iqm, iqm_ci, normalized_score, normalized_score_ci; the last two are
// null where D4RL does not score the task. Intervals are drawn with `seed`.
nlohmann::json DescribeReturns(std::span<const double> returns, const envs::EnvSpec& spec,
                               uint64_t seed);

// The same with returns, lengths and diverged, and success_rate, the share of the episodes that
// solved the task, of tasks that are solved or not only.
nlohmann::json DescribeEpisodes(const agents::RolloutResult& result, const envs::EnvSpec& spec,
                                uint64_t seed);

// Lines for a reader, of what DescribeReturns gave, and success_rate where there is one.
void PrintReturns(const nlohmann::json& report);

// The same with lengths and episodes that diverged.
void PrintEpisodes(const nlohmann::json& report);

}  // namespace cosdt::experiments
