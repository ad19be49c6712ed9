#include "envs/count_recall.h"

#include <algorithm>

namespace cosdt::envs {
namespace {

struct CountRecallLevel {
  int packs;
  int kinds;
  int (*kind_of)(int card);
  int cards() const { return packs * CardDeck::kPack; }
};

constexpr CountRecallLevel kCountRecallLevels[] = {{1, CardDeck::kColors, CardDeck::Color},
                                                   {2, CardDeck::kSuits, CardDeck::Suit},
                                                   {4, CardDeck::kRanks, CardDeck::Rank}};

EnvSpec CountRecallSpec(const CountRecallLevel& l, std::string name) {
  return {.name = std::move(name),
          .discrete_actions = l.cards() / l.kinds + 1,
          .horizon = l.cards() - 1,
          .target_return = 1.0};
}

}  // namespace

CountRecall::CountRecall(Level level)
    : CardGame(CountRecallSpec(AtLevel(kCountRecallLevels, level), LevelName(kName, level)),
               2 * AtLevel(kCountRecallLevels, level).kinds,
               AtLevel(kCountRecallLevels, level).packs, /*decks=*/2),
      kind_of_(AtLevel(kCountRecallLevels, level).kind_of),
      counts_(AtLevel(kCountRecallLevels, level).kinds) {
  Reset(0);
}

void CountRecall::Start() {
  std::ranges::fill(counts_, 0);
  DealBoth();
}

void CountRecall::DealBoth() {
  deck(0).Deal();
  deck(1).Deal();
  ++counts_[Kind(0)];
}

StepResult CountRecall::Advance(double action) {
  const double reward = 1.0 / (deck().size() - 1);
  const bool right = action == ScriptedAction();
  DealBoth();
  return {.reward = right ? reward : -reward, .terminated = deck().left() == 0};
}

void CountRecall::WriteState(std::span<double> state) const {
  state[Kind(0)] = 1;
  state[counts_.size() + Kind(1)] = 1;
}

}  // namespace cosdt::envs
