#include "envs/repeat_first.h"

namespace cosdt::envs {
namespace {

constexpr int kRepeatFirstPacks[] = {1, 8, 16};

}  // namespace

RepeatFirst::RepeatFirst(Level level)
    : CardGame({.name = LevelName(kName, level),
                .discrete_actions = CardDeck::kSuits,
                .horizon = AtLevel(kRepeatFirstPacks, level) * CardDeck::kPack - 1,
                .target_return = 1.0},
               CardDeck::kSuits, AtLevel(kRepeatFirstPacks, level)) {
  Reset(0);
}

StepResult RepeatFirst::Advance(double action) {
  const double reward = 1.0 / (deck().size() - 1);
  const bool right = action == ScriptedAction();
  deck().Deal();
  return {.reward = right ? reward : -reward, .terminated = deck().left() == 0};
}

void RepeatFirst::WriteState(std::span<double> state) const {
  state[CardDeck::Suit(deck().Previous(1))] = 1;
}

double RepeatFirst::ScriptedAction() const {
  return CardDeck::Suit(deck().Previous(deck().dealt()));
}

}  // namespace cosdt::envs
