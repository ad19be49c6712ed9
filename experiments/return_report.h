// What the program says of episodes' returns, in JSON and in words.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <span>

#include "agents/rollout.h"
#include "envs/env.h"

namespace cosdt::experiments {

// mean, std, standard_error, iqm, iqm_ci, normalized_score, normalized_score_ci; the last two are
// null where D4RL does not score the task. Intervals are drawn with `seed`.
nlohmann::json DescribeReturns(std::span<const double> returns, const envs::EnvSpec& spec,
                               uint64_t seed);

// The same with returns, lengths and diverged.
nlohmann::json DescribeEpisodes(const agents::RolloutResult& result, const envs::EnvSpec& spec,
                                uint64_t seed);

// Lines for a reader, of what DescribeReturns gave.
void PrintReturns(const nlohmann::json& report);

// The same with lengths and episodes that diverged.
void PrintEpisodes(const nlohmann::json& report);

}  // namespace cosdt::experiments
