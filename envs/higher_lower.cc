#include "envs/higher_lower.h"

namespace cosdt::envs {
namespace {

constexpr int kHigherLowerPacks[] = {1, 2, 3};

}  // namespace

HigherLower::HigherLower(Level level)
    : CardGame({.name = LevelName(kName, level),
                .discrete_actions = 2,
                .horizon = AtLevel(kHigherLowerPacks, level) * CardDeck::kPack - 1,
                .target_return = 1.0},
               CardDeck::kRanks, AtLevel(kHigherLowerPacks, level)) {
  Reset(0);
}

StepResult HigherLower::Advance(double action) {
  deck().Deal();
  StepResult result{.terminated = deck().left() == 0};
  const int next = CardDeck::Rank(deck().Previous(1)), before = CardDeck::Rank(deck().Previous(2));
  if (next == before) return result;
  const double reward = 1.0 / deck().size();
  result.reward = (next > before) == (action == kHigher) ? reward : -reward;
  return result;
}

void HigherLower::WriteState(std::span<double> state) const {
  state[CardDeck::Rank(deck().Previous(1))] = 1;
}

double HigherLower::ScriptedAction() const {
  const int rank = CardDeck::Rank(deck().Previous(1));
  const int of_each = deck().size() / CardDeck::kRanks;
  int higher = of_each * (CardDeck::kRanks - 1 - rank), lower = of_each * rank;
  for (int back = 2; back <= deck().dealt(); ++back) {
    const int other = CardDeck::Rank(deck().Previous(back));
    higher -= other > rank;
    lower -= other < rank;
  }
  return higher >= lower ? kHigher : kLower;
}

}  // namespace cosdt::envs
