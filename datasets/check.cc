#include "datasets/check.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <optional>
#include <span>
#include <string_view>
#include <unordered_map>

#include "datasets/action_space.h"
#include "datasets/summary.h"

namespace cosdt::datasets {
namespace {

std::string Number(double x) {
  char text[32];
  std::snprintf(text, sizeof text, "%.6g", x);
  return text;
}

// Rows for which `test` holds: how many, and the first.
struct Rows {
  size_t count = 0;
  size_t first = 0;
};

template <typename Test>
Rows CountRows(size_t rows, const Test& test) {
  Rows found;
  for (size_t row = 0; row < rows; ++row) {
    if (test(row) && found.count++ == 0) found.first = row;
  }
  return found;
}

template <typename T>
std::span<const T> Row(const UnsetVector<T>& array, size_t row, size_t width) {
  return {array.data() + row * width, width};
}

double Median(std::vector<double>& values) {
  const auto middle = values.begin() + static_cast<ptrdiff_t>(values.size() / 2);
  std::ranges::nth_element(values, middle);
  return *middle;
}

class Checker {
 public:
  Checker(const std::string& path, const Transitions& transitions, const Cuts& cuts,
          const CheckOptions& options)
      : path_(path),
        t_(transitions),
        body_(options.body),
        horizon_(options.horizon),
        unit_actions_(options.unit_actions),
        cuts_(cuts),
        is_last_(t_.rows()) {
    for (const size_t end : cuts_.offsets) {
      if (end > 0) is_last_[end - 1] = 1;
    }
  }

  CheckReport Run() {
    NotFinite("observations", t_.observations, t_.observation_size);
    NotFinite("actions", t_.actions, t_.action_size);
    NotFinite("rewards", t_.rewards, 1);
    NotFinite("next_observations", t_.next_observations, t_.observation_size);
    NotFinite("infos/action_log_probs", t_.log_probs, 1);
    NotFinite("infos/qpos", t_.qpos, t_.nq);
    NotFinite("infos/qvel", t_.qvel, t_.nv);
    if (t_.discrete_actions > 0) {
      DiscreteActions();
    } else if (unit_actions_) {
      ActionRange();
    }
    EpisodeLengths();
    if (t_.task.empty() || !t_.qpos.empty()) {  // other tasks' observations repeat
      Duplicates();
      ContinuesAfterTerminal();
    }
    if (t_.next_observations.empty()) {
      if (body_) Jumps();
    } else {
      NextObservations();
    }
    if (body_) Rewards();
    KnownReturns();
    return std::move(report_);
  }

 private:
  void Find(const char* code, const std::string& key, const Rows& rows, const std::string& what) {
    if (rows.count == 0) return;
    report_.findings.push_back(
        {code, key, rows.first, what + " in " + std::to_string(rows.count) + " rows"});
  }

  void NotFinite(const char* key, const auto& array, size_t width) {
    if (array.empty()) return;
    const auto finite = [](double x) { return std::isfinite(x); };
    Find(
        "not_finite", key,
        CountRows(t_.rows(),
                  [&](size_t row) { return !std::ranges::all_of(Row(array, row, width), finite); }),
        "NaN or infinity");
  }

  void ActionRange() {
    const auto outside = [](float a) { return std::abs(a) > 1; };
    Find("action_range", "actions",
         CountRows(t_.rows(),
                   [&](size_t row) {
                     return std::ranges::any_of(Row(t_.actions, row, t_.action_size), outside);
                   }),
         "actions outside [-1, 1]");
  }

  void DiscreteActions() {
    const Rows wrong = CountRows(t_.rows(), [&](size_t row) {
      return !IsDiscreteAction(t_.actions[row], t_.discrete_actions);
    });
    if (wrong.count == 0) return;
    Find("action_range", "actions", wrong,
         "expected " + DiscreteActionText(t_.discrete_actions) + ", found " +
             Number(t_.actions[wrong.first]) + ": out of range");
  }

  void EpisodeLengths() {
    size_t complete = 0;
    Rows timeouts, partial;
    for (size_t i = 0; i < cuts_.endings.size(); ++i) {
      const size_t begin = cuts_.offsets[i], length = cuts_.offsets[i + 1] - begin;
      if (length > horizon_) {
        report_.findings.push_back({"long_episode", "timeouts", begin,
                                    std::to_string(length) +
                                        " steps without a terminal or timeout, " +
                                        std::to_string(horizon_) + " are an episode's maximum"});
      }
      complete += cuts_.endings[i] != Ending::kPartial;
      if (cuts_.endings[i] == Ending::kPartial) {
        if (partial.count == 0) partial.first = begin;
        partial.count += length;
      }
      if (cuts_.endings[i] == Ending::kTimeout && length < horizon_ && timeouts.count++ == 0) {
        timeouts.first = cuts_.offsets[i + 1] - 1;
      }
    }
    if (partial.count > 0) {
      report_.notes.push_back(
          {"partial_episode", "timeouts", partial.first,
           std::to_string(partial.count) + " rows are of unfinished episodes, which readers drop"});
    }
    if (complete == t_.rows() && complete > 1) {
      report_.findings.push_back({"every_row", "terminals", std::nullopt,
                                  "each of the " + std::to_string(complete) +
                                      " rows ends an episode by its terminal or timeout"});
    }
    if (complete == 0) {
      report_.findings.push_back(
          {"no_episode", "terminals", std::nullopt, "no terminal or timeout ends an episode"});
    }
    if (timeouts.count > 0) {
      report_.notes.push_back({"short_timeout", "timeouts", timeouts.first,
                               std::to_string(timeouts.count) + " timeouts before step " +
                                   std::to_string(horizon_) + ", as replay files have them"});
    }
    if (t_.timeouts.empty()) {
      report_.notes.push_back(
          {"no_timeouts", "timeouts", std::nullopt,
           "missing: episodes are cut after " + std::to_string(horizon_) + " steps"});
    }
  }

  void Duplicates() {
    std::unordered_map<std::string_view, size_t> seen;  // an episode's observations
    for (size_t i = 0; i < cuts_.endings.size(); ++i) {
      const size_t width = t_.observation_size, begin = cuts_.offsets[i];
      const auto rows =
          std::as_bytes(std::span(t_.observations)
                            .subspan(begin * width, (cuts_.offsets[i + 1] - begin) * width));
      const auto [at, fresh] = seen.emplace(
          std::string_view(reinterpret_cast<const char*>(rows.data()), rows.size()), begin);
      if (fresh) continue;
      report_.findings.push_back(
          {"duplicate", "observations", begin,
           "the episode that begins in row " + std::to_string(at->second) + " again"});
    }
  }

  // An episode continues after its terminal if the next row continues from where the terminal's
  // step led. Without next_observations that is known as roughly as in Jumps: a body that has just
  // begun to fall is close to how the next episode begins, so that a body at rest is taken for a
  // beginning and only a majority of all terminals tells.
  void ContinuesAfterTerminal() {
    if (t_.next_observations.empty() && !body_) return;
    const size_t width = t_.observation_size;
    size_t terminals = 0;
    const Rows on = CountRows(t_.rows() - 1, [&](size_t row) {
      if (!t_.terminals[row]) return false;
      ++terminals;
      if (t_.next_observations.empty()) return Moves(row) && !Begins(row + 1);
      return Same(Row(t_.next_observations, row, width), Row(t_.observations, row + 1, width));
    });
    if (t_.next_observations.empty() && on.count * 2 <= terminals) return;
    Find("goes_on", "terminals", on, "the next row continues the episode after its terminal,");
  }

  // Whether two rows of observations are the same up to float32's digits.
  bool Same(std::span<const float> a, std::span<const float> b) const {
    for (size_t i = 0; i < a.size(); ++i) {
      if (!(std::abs(a[i] - b[i]) <= 1e-5f * (1 + std::abs(a[i])))) return false;
    }
    return true;
  }

  void NextObservations() {
    const size_t width = t_.observation_size;
    const auto next = [&](size_t row) { return Row(t_.next_observations, row, width); };
    const auto here = [&](size_t row) { return Row(t_.observations, row, width); };
    size_t inner = 0, own = 0, second = 0;
    const Rows other = CountRows(t_.rows() - 1, [&](size_t row) {
      if (is_last_[row]) return false;
      ++inner;
      own += Same(next(row), here(row));
      second += row + 2 < t_.rows() && Same(next(row), here(row + 2));
      return !Same(next(row), here(row + 1));
    });
    if (other.count == 0) return;
    // a shift shows nearly everywhere, a lost boundary here and there
    const auto nearly_all = [&](size_t count) { return count * 10 > inner * 9; };
    if (nearly_all(own)) {
      Find("shifted", "next_observations", other, "the row's own observation");
    } else if (nearly_all(second)) {
      Find("shifted", "next_observations", other, "the observation two rows later");
    } else if (other.count * 2 > inner) {
      Find("shifted", "next_observations", other, "not the observation of the next row");
    } else {
      Find("jump", "observations", {other.count, other.first + 1},
           "not the next_observations of the row before, without a terminal or timeout between,");
    }
  }

  // Whether the body is as a reset leaves hopper and walker2d: velocities of at most 0.005.
  bool Begins(size_t row) const {
    const std::span velocities =
        Row(t_.observations, row, t_.observation_size).subspan(body_->nq - 1);
    return std::ranges::all_of(velocities, [](float v) { return std::abs(v) < 0.01f; });
  }

  // Whether the positions move to the next row's as far as the velocities say. Contacts bend
  // velocities within a step, so something is left over even if all is right: body.max_jump is
  // above what D4RL-like policies were seen to leave.
  bool Moves(size_t row) const {
    const size_t width = t_.observation_size, positions = body_->nq - 1;
    const std::span a = Row(t_.observations, row, width), b = Row(t_.observations, row + 1, width);
    for (size_t i = 0; i < positions; ++i) {
      const float va = a[positions + 1 + i], vb = b[positions + 1 + i];
      if (body_->clips_velocities && std::max(std::abs(va), std::abs(vb)) >= 10) continue;
      if (std::abs(b[i] - a[i] - body_->step_seconds * (va + vb) / 2) > body_->max_jump) {
        return false;
      }
    }
    return true;
  }

  void Jumps() {
    const Rows jumps =
        CountRows(t_.rows() - 1, [&](size_t row) { return !is_last_[row] && !Moves(row); });
    Find("jump", "observations", {jumps.count, jumps.first + 1},
         "positions that the velocities of the row before do not lead to, without a terminal or "
         "timeout between,");
  }

  // The forward velocity over a row's step, as far as observations tell: the mean of those before
  // and after it. Nothing if either is missing or clipped.
  std::optional<double> ForwardVelocity(size_t row) const {
    const size_t width = t_.observation_size, forward = body_->nq - 1;
    const float before = t_.observations[row * width + forward];
    float after;
    if (!t_.next_observations.empty()) {
      after = t_.next_observations[row * width + forward];
    } else if (!is_last_[row] && row + 1 < t_.rows()) {
      after = t_.observations[(row + 1) * width + forward];
    } else {
      return std::nullopt;
    }
    if (body_->clips_velocities && std::max(std::abs(before), std::abs(after)) >= 10) {
      return std::nullopt;
    }
    return (before + after) / 2;
  }

  // The reward less its other terms: the mean forward velocity of the step, as the simulator has
  // it.
  double RewardedVelocity(size_t row) const {
    double squares = 0;
    for (const float a : Row(t_.actions, row, t_.action_size)) squares += a * a;
    return t_.rewards[row] - body_->healthy_reward + body_->control_cost * squares;
  }

  // How far these two are apart if every row is given the reward `back` rows earlier or `on` rows
  // later; rows at the ends of episodes are left out.
  std::vector<double> RewardErrors(size_t back, size_t on) const {
    std::vector<double> errors;
    for (size_t row = back; row + on < t_.rows(); ++row) {
      if (is_last_[row] || (row > 0 && is_last_[row - 1])) continue;
      const std::optional<double> velocity = ForwardVelocity(row);
      if (!velocity) continue;
      const double error = std::abs(RewardedVelocity(row + on - back) - *velocity);
      if (std::isfinite(error)) errors.push_back(error);
    }
    return errors;
  }

  void Rewards() {
    std::vector<double> now = RewardErrors(0, 0);
    std::vector<double> later = RewardErrors(0, 1), earlier = RewardErrors(1, 0);
    // rows far apart have nothing to do with each other, except that they are of one policy
    std::vector<double> apart = RewardErrors(0, 137);
    constexpr size_t kEnough = 50;
    if (std::min({now.size(), later.size(), earlier.size(), apart.size()}) < kEnough) return;
    const double median = Median(now);
    const double of_later = Median(later), of_earlier = Median(earlier);
    if (std::min(of_later, of_earlier) < median / 2) {
      report_.findings.push_back(
          {"shifted", "rewards", 0,
           of_later < of_earlier ? "rewards of the row before" : "rewards of the next row"});
      return;
    }
    if (median > 0.8 * Median(apart)) {
      report_.findings.push_back({"reward", "rewards", 0,
                                  "half of the rewards are further than " + Number(median) +
                                      " from what " + body_->name + "'s observations say"});
      return;
    }
    const auto is_off = [&](size_t row) {
      const std::optional<double> velocity = ForwardVelocity(row);
      const double error = velocity ? std::abs(RewardedVelocity(row) - *velocity) : 0;
      return std::isfinite(error) && error > body_->max_reward_error;
    };
    Find("reward", "rewards", CountRows(t_.rows(), is_off),
         "more than " + Number(body_->max_reward_error) + " from what the observations say");
  }

  void KnownReturns() {
    const KnownFile* const known = FindKnownPath(path_);
    if (!known || !known->returns) return;
    const ReturnStatistics found = ReturnsOf(t_.rewards, cuts_);
    const auto differ = [](double a, double b) {
      return !(std::abs(a - b) <= 0.02 + 1e-5 * std::abs(b));
    };
    const ReturnStatistics& expected = *known->returns;
    if (!differ(found.mean, expected.mean) && !differ(found.std, expected.std) &&
        !differ(found.min, expected.min) && !differ(found.max, expected.max)) {
      return;
    }
    const auto text = [](const ReturnStatistics& r) {
      return Number(r.mean) + " +- " + Number(r.std) + " in [" + Number(r.min) + ", " +
             Number(r.max) + "]";
    };
    report_.findings.push_back({"returns", "rewards", std::nullopt,
                                std::string("expected ") + known->name + "'s returns " +
                                    text(expected) + ", found " + text(found)});
  }

  const std::string& path_;
  const Transitions& t_;
  const Body* body_;
  size_t horizon_;
  bool unit_actions_;
  const Cuts& cuts_;
  std::vector<uint8_t> is_last_;  // [rows]: the last of an episode
  CheckReport report_;
};

}  // namespace

CheckReport CheckTransitions(const std::string& path, const Transitions& transitions,
                             const Cuts& cuts, const CheckOptions& options) {
  return Checker(path, transitions, cuts, options).Run();
}

}  // namespace cosdt::datasets
