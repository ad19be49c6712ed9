#include "agents/critics/transitions.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <stdexcept>
#include <string>
#include <utility>

namespace cosdt::agents {
namespace {

// Throws unless good(value) for all.
template <class Good>
void ExpectValues(const char* name, const datasets::FloatVector& values, int64_t width,
                  const char* expected, const Good& good) {
  const auto bad = std::ranges::find_if_not(values, good);
  if (bad == values.end()) return;
  throw std::invalid_argument(std::string("training: ") + name + ": expected " + expected +
                              ", found " + std::to_string(*bad) + " in row " +
                              std::to_string((bad - values.begin()) / width));
}

}  // namespace

void TransitionBatch::Require(int64_t count, int64_t observation_size, int64_t action_size) {
  rows = count;
  for (kernels::Floats* p : {&pairs, &next_pairs})
    p->Require(rows * (observation_size + action_size));
  next_actions.Require(rows * action_size);
  rewards.Require(rows);
  discounts.Require(rows);
}

Transitions::Transitions(const datasets::Episodes& episodes, datasets::Normalizer normalizer,
                         double reward_scale)
    : episodes_(episodes),
      normalizer_(std::move(normalizer)),
      reward_scale_(static_cast<float>(reward_scale)),
      is_terminal_(episodes.rows()) {
  if (episodes.discrete_actions > 0) {
    throw std::invalid_argument("training: actions: expected continuous ones, found Discrete(" +
                                std::to_string(episodes.discrete_actions) + ")");
  }
  const auto is_finite = [](float x) { return std::isfinite(x); };
  ExpectValues("observations", episodes.observations, episodes.observation_size, "finite values",
               is_finite);
  ExpectValues("rewards", episodes.rewards, 1, "finite values", is_finite);
  ExpectValues("actions", episodes.actions, episodes.action_size, "values in [-1, 1]",
               [](float x) { return std::abs(x) <= 1; });
  if (episodes.rows() > std::numeric_limits<uint32_t>::max()) {
    throw std::invalid_argument("training: data: expected at most 4294967295 rows, found " +
                                std::to_string(episodes.rows()));
  }
  for (size_t episode = 0; episode < episodes.size(); ++episode) {
    const size_t end = episodes.offsets[episode + 1];
    const bool terminal = episodes.endings[episode] == datasets::Ending::kTerminal;
    is_terminal_[end - 1] = terminal;
    for (size_t row = episodes.offsets[episode]; row < end - (terminal ? 0 : 1); ++row) {
      rows_.push_back(static_cast<uint32_t>(row));
    }
  }
  if (rows_.empty()) {
    throw std::invalid_argument(
        "training: data: expected a step that a terminal or another step follows, found none");
  }
  float largest = 0;
  for (const float reward : episodes.rewards) largest = std::max(largest, std::abs(reward));
  largest_value_ = reward_scale * largest / (1 - kDiscount);
}

void Transitions::Draw(const BatchShare& share, envs::Rng& rng, TransitionBatch& batch) const {
  batch.Require(share.count(), episodes_.observation_size, episodes_.action_size);
  std::uniform_int_distribution<size_t> draw(0, rows_.size() - 1);
  for (int64_t i = -share.first(); i < share.whole() - share.first(); ++i) {
    const size_t row = rows_[draw(rng)];
    if (i >= 0 && i < share.count()) Copy(row, i, batch);
  }
}

void Transitions::Copy(size_t row, int64_t i, TransitionBatch& batch) const {
  const auto o = static_cast<size_t>(episodes_.observation_size),
             a = static_cast<size_t>(episodes_.action_size);
  const bool terminal = is_terminal_[row];
  const size_t next = terminal ? row : row + 1;  // a terminal's is not read
  const auto copy = [&](const datasets::FloatVector& from, size_t at, size_t width, float* to) {
    std::copy_n(from.begin() + static_cast<ptrdiff_t>(at * width), width, to);
  };
  const auto observe = [&](size_t at, float* to) {
    normalizer_.Apply(std::span(episodes_.observations).subspan(at * o, o), {to, o});
  };
  float* const pair = batch.pairs.data() + i * static_cast<int64_t>(o + a);
  observe(row, pair);
  copy(episodes_.actions, row, a, pair + o);
  observe(next, batch.next_pairs.data() + i * static_cast<int64_t>(o + a));
  copy(episodes_.actions, next, a, batch.next_actions.data() + i * static_cast<int64_t>(a));
  batch.rewards.data()[i] = reward_scale_ * episodes_.rewards[row];
  batch.discounts.data()[i] = terminal ? 0 : static_cast<float>(kDiscount);
}

double RewardScale(const datasets::Episodes& episodes) {
  double worst = std::numeric_limits<double>::infinity(), best = -worst;
  for (size_t i = 0; i < episodes.size(); ++i) {
    if (episodes.endings[i] == datasets::Ending::kPartial) continue;
    worst = std::min(worst, episodes.returns[i]);
    best = std::max(best, episodes.returns[i]);
  }
  if (best > worst) return 1000 / (best - worst);
  throw std::invalid_argument(
      "normalize-reward: expected whole episodes of different returns, found none");
}

}  // namespace cosdt::agents
