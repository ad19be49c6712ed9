"""Makes golden_rliable.h: aggregates, intervals and profiles of rliable on made-up scores.

    pip install rliable==1.2.0 "pandas<3"
    python tests/experiments/scores/make_rliable_golden.py

Two algorithms, of 7 and 5 runs on 4 tasks; whole numbers among the scores make ties.
"""
import pathlib

import numpy as np
from rliable import library, metrics

RESAMPLES = 50_000
THRESHOLDS = [-10.0, 5.0, 20.0, 30.0, 45.5, 60.0, 120.0]

rng = np.random.default_rng(8)
CENTRES = np.array([10, 35, 50, 80])
SCORES = {
    "X": np.round(CENTRES + rng.normal(0, 15, (7, 4))),
    "Y": np.round(CENTRES - 6 + rng.standard_t(3, (5, 4)) * 10),
}


def braces(values):
    if np.ndim(values) == 0:
        return repr(float(values))
    return "{" + ", ".join(braces(value) for value in values) + "}"


np.random.seed(0)  # which rliable draws from
lines = [
    "// Made by make_rliable_golden.py.",
    "#pragma once",
    "",
    '#include "experiments/scores/statistics.h"',
    "",
    "// clang-format off",
    "namespace cosdt::experiments::golden {",
    "",
    "struct Estimate {",
    "  double value;",
    "  Interval interval;",
    "};",
    "",
]
for name, scores in SCORES.items():
    lines.append(f"inline const TaskScores k{name} = {braces(scores.T)};")
    for aggregate in ("mean", "median", "iqm"):
        statistic = getattr(metrics, f"aggregate_{aggregate}")
        value, interval = library.get_interval_estimates(
            {name: scores}, lambda s: np.array([statistic(s)]), reps=RESAMPLES)
        lines.append(f"inline constexpr Estimate k{name}{aggregate.capitalize()} = "
                     f"{{{braces(value[name][0])}, {braces(interval[name][:, 0])}}};")
value, interval = library.get_interval_estimates(
    {"pair": [SCORES["X"], SCORES["Y"]]},
    lambda x, y: np.array([metrics.probability_of_improvement(x, y)]), reps=RESAMPLES)
lines.append(f"inline constexpr Estimate kImprovement = "
             f"{{{braces(value['pair'][0])}, {braces(interval['pair'][:, 0])}}};")
profile, bounds = library.create_performance_profile({"X": SCORES["X"]}, THRESHOLDS, reps=RESAMPLES)
points = zip(THRESHOLDS, profile["X"], bounds["X"].T)
lines.append("inline const std::vector<ProfilePoint> kXProfile = {"
             + ", ".join(f"{{{t}, {braces(share)}, {braces(b)}}}" for t, share, b in points) + "};")
lines += ["", "}  // namespace cosdt::experiments::golden", ""]
(pathlib.Path(__file__).parent / "golden_rliable.h").write_text("\n".join(lines))
