#include "experiments/scores/return_report.h"

#include <algorithm>
#include <cstdio>
#include <vector>

#include "experiments/scores/statistics.h"

namespace cosdt::experiments {

nlohmann::json DescribePhysics(const envs::EnvSpec& spec, envs::Physics physics) {
  return spec.step_seconds > 0 ? nlohmann::json(envs::PhysicsName(physics)) : nlohmann::json();
}

std::string PhysicsText(const nlohmann::json& report) {
  const nlohmann::json& physics = report["physics"];
  return physics.is_null() ? "" : ", " + physics.get<std::string>() + " physics";
}

std::string SeedText(const nlohmann::json& report) {
  const bool gym = report["seeding"] == envs::SeedingName(envs::Seeding::kGym);
  return "seed " + report["seed"].dump() + (gym ? " by gym's seeding" : "");
}

nlohmann::json DescribeReturns(std::span<const double> returns, const envs::EnvSpec& spec,
                               uint64_t seed) {
  const Interval iqm = BootstrapInterval(returns, InterquartileMean, seed);
  nlohmann::json report = {
      {"mean", Mean(returns)},
      {"std", Std(returns)},
      {"standard_error", StandardError(returns)},
      {"iqm", InterquartileMean(returns)},
      {"iqm_ci", {iqm.low, iqm.high}},
      {"normalized_score", nullptr},
      {"normalized_score_ci", nullptr},
  };
  if (spec.score_range) {
    const auto score = [&](double r) { return envs::NormalizedScore(*spec.score_range, r); };
    const Interval mean = BootstrapInterval(returns, Mean, seed);
    report["normalized_score"] = score(Mean(returns));
    report["normalized_score_ci"] = {score(mean.low), score(mean.high)};
  }
  return report;
}

nlohmann::json DescribeEpisodes(const agents::RolloutResult& result, const envs::EnvSpec& spec,
                                uint64_t seed) {
  nlohmann::json report = DescribeReturns(result.returns, spec, seed);
  report["returns"] = result.returns;
  report["lengths"] = result.lengths;
  report["diverged"] = result.diverged;
  if (spec.success_return) {
    const auto solved =
        std::ranges::count_if(result.returns, [&](double r) { return r >= *spec.success_return; });
    report["success_rate"] =
        static_cast<double>(solved) / static_cast<double>(result.returns.size());
  }
  return report;
}

void PrintReturns(const nlohmann::json& report) {
  const auto number = [&](const char* key) { return report[key].get<double>(); };
  std::printf("return             %.1f +- %.1f (standard error %.1f)\n", number("mean"),
              number("std"), number("standard_error"));
  std::printf("interquartile mean %.1f, 95 %% interval [%.1f, %.1f]\n", number("iqm"),
              report["iqm_ci"][0].get<double>(), report["iqm_ci"][1].get<double>());
  if (!report["normalized_score"].is_null()) {
    std::printf("normalized score   %.2f, 95 %% interval [%.2f, %.2f]\n",
                number("normalized_score"), report["normalized_score_ci"][0].get<double>(),
                report["normalized_score_ci"][1].get<double>());
  }
  if (report.contains("success_rate")) {
    std::printf("success rate       %.1f %%\n", 100 * number("success_rate"));
  }
}

void PrintEpisodes(const nlohmann::json& report) {
  PrintReturns(report);
  const std::vector<double> lengths = report["lengths"];
  std::printf("length             %.1f steps\n", Mean(lengths));
  if (report["diverged"] != 0) {
    std::printf("diverged           %d episodes were ended by a bad state of the simulator\n",
                report["diverged"].get<int>());
  }
}

}  // namespace cosdt::experiments
