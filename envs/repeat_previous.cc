#include "envs/repeat_previous.h"

namespace cosdt::envs {
namespace {

constexpr int kRepeatPreviousPacks[] = {1, 2, 3};
constexpr int kRepeatPreviousK[] = {4, 32, 64};

}  // namespace

RepeatPrevious::RepeatPrevious(Level level)
    : CardGame({.name = LevelName(kName, level),
                .discrete_actions = CardDeck::kSuits,
                .horizon = AtLevel(kRepeatPreviousPacks, level) * CardDeck::kPack - 1,
                .target_return = 1.0},
               CardDeck::kSuits, AtLevel(kRepeatPreviousPacks, level)),
      k_(AtLevel(kRepeatPreviousK, level)) {
  Reset(0);
}

StepResult RepeatPrevious::Advance(double action) {
  StepResult result;
  if (deck().dealt() >= k_) {
    const double reward = 1.0 / (deck().size() - k_);
    result.reward = action == ScriptedAction() ? reward : -reward;
  }
  deck().Deal();
  result.terminated = deck().left() == 0;
  return result;
}

void RepeatPrevious::WriteState(std::span<double> state) const {
  state[CardDeck::Suit(deck().Previous(1))] = 1;
}

double RepeatPrevious::ScriptedAction() const {
  return deck().dealt() < k_ ? 0 : CardDeck::Suit(deck().Previous(k_));
}

}  // namespace cosdt::envs
