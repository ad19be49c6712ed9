#include "experiments/scores/return_report.h"

#include <algorithm>
#include <cstdio>

#include "experiments/program/json_optional.h"

namespace cosdt::experiments {

using nlohmann::json;

void to_json(json& to, const Interval& from) { to = {from.low, from.high}; }

void from_json(const json& from, Interval& to) {
  from.at(0).get_to(to.low);
  from.at(1).get_to(to.high);
}

void to_json(json& to, const ReturnStatistics& from) {
  to = {{"mean", from.mean},
        {"std", from.std},
        {"standard_error", from.standard_error},
        {"iqm", from.iqm},
        {"iqm_ci", from.iqm_ci},
        {"normalized_score", from.normalized_score},
        {"normalized_score_ci", from.normalized_score_ci},
        {"score_scale", from.normalized_score ? json("d4rl") : json()}};
  if (from.success_rate) to["success_rate"] = *from.success_rate;
}

void from_json(const json& from, ReturnStatistics& to) {
  from.at("mean").get_to(to.mean);
  from.at("std").get_to(to.std);
  from.at("standard_error").get_to(to.standard_error);
  from.at("iqm").get_to(to.iqm);
  from.at("iqm_ci").get_to(to.iqm_ci);
  from.at("normalized_score").get_to(to.normalized_score);
  from.at("normalized_score_ci").get_to(to.normalized_score_ci);
  if (from.contains("success_rate")) from["success_rate"].get_to(to.success_rate);
}

void to_json(json& to, const EpisodeStatistics& from) {
  to_json(to, static_cast<const ReturnStatistics&>(from));
  to["returns"] = from.returns;
  to["lengths"] = from.lengths;
  to["diverged"] = from.diverged;
}

void from_json(const json& from, EpisodeStatistics& to) {
  from_json(from, static_cast<ReturnStatistics&>(to));
  from.at("returns").get_to(to.returns);
  from.at("lengths").get_to(to.lengths);
  from.at("diverged").get_to(to.diverged);
}

std::optional<std::string> DescribePhysics(const envs::EnvSpec& spec, envs::Physics physics) {
  if (spec.step_seconds <= 0) return std::nullopt;
  return envs::PhysicsName(physics);
}

std::string PhysicsText(const std::optional<std::string>& physics) {
  return physics ? ", " + *physics + " physics" : "";
}

std::string SeedText(uint64_t seed, envs::Seeding seeding) {
  return "seed " + std::to_string(seed) +
         (seeding == envs::Seeding::kGym ? " by gym's seeding" : "");
}

ReturnStatistics DescribeReturns(std::span<const double> returns, const envs::EnvSpec& spec,
                                 uint64_t seed) {
  ReturnStatistics statistics;
  statistics.mean = Mean(returns);
  statistics.std = Std(returns);
  statistics.standard_error = StandardError(returns);
  statistics.iqm = InterquartileMean(returns);
  statistics.iqm_ci = BootstrapInterval(returns, InterquartileMean, seed);
  if (spec.score_range) {
    const auto score = [&](double r) { return envs::NormalizedScore(*spec.score_range, r); };
    const Interval mean = BootstrapInterval(returns, Mean, seed);
    statistics.normalized_score = score(statistics.mean);
    statistics.normalized_score_ci = {score(mean.low), score(mean.high)};
  }
  return statistics;
}

EpisodeStatistics DescribeEpisodes(const agents::RolloutResult& result, const envs::EnvSpec& spec,
                                   uint64_t seed) {
  EpisodeStatistics statistics;
  static_cast<ReturnStatistics&>(statistics) = DescribeReturns(result.returns, spec, seed);
  statistics.returns = result.returns;
  statistics.lengths = result.lengths;
  statistics.diverged = result.diverged;
  if (spec.success_return) {
    const auto solved =
        std::ranges::count_if(result.returns, [&](double r) { return r >= *spec.success_return; });
    statistics.success_rate =
        static_cast<double>(solved) / static_cast<double>(result.returns.size());
  }
  return statistics;
}

void PrintReturns(const ReturnStatistics& s) {
  const int digits = s.normalized_score ? 1 : 3;  // other tasks' returns are within [-1, 1]
  std::printf("return             %.*f +- %.*f (standard error %.*f)\n", digits, s.mean, digits,
              s.std, digits, s.standard_error);
  std::printf("interquartile mean %.*f, 95 %% interval [%.*f, %.*f]\n", digits, s.iqm, digits,
              s.iqm_ci.low, digits, s.iqm_ci.high);
  if (s.normalized_score) {
    std::printf("normalized score   %.2f on D4RL's scale, 95 %% interval [%.2f, %.2f]\n",
                *s.normalized_score, s.normalized_score_ci->low, s.normalized_score_ci->high);
  }
  if (s.success_rate) std::printf("success rate       %.1f %%\n", 100 * *s.success_rate);
}

void PrintEpisodes(const EpisodeStatistics& s) {
  PrintReturns(s);
  const std::vector<double> lengths(s.lengths.begin(), s.lengths.end());
  std::printf("length             %.1f steps\n", Mean(lengths));
  if (s.diverged != 0) {
    std::printf("diverged           %d episodes were ended by a bad state of the simulator\n",
                s.diverged);
  }
}

}  // namespace cosdt::experiments
