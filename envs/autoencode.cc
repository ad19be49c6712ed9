#include "envs/autoencode.h"

namespace cosdt::envs {
namespace {

constexpr int kAutoencodePacks[] = {1, 2, 3};

}  // namespace

Autoencode::Autoencode(Level level)
    : CardGame({.name = LevelName(kName, level),
                .discrete_actions = CardDeck::kSuits,
                .horizon = 2 * AtLevel(kAutoencodePacks, level) * CardDeck::kPack - 1,
                .target_return = 1.0},
               kModes + CardDeck::kSuits, AtLevel(kAutoencodePacks, level)) {
  Reset(0);
}

void Autoencode::Start() {
  deck().Deal();
  named_ = 0;
}

StepResult Autoencode::Advance(double action) {
  if (!plays()) {
    deck().Deal();
    return {};
  }
  const double reward = 1.0 / deck().size();
  const bool right = action == ScriptedAction();
  ++named_;
  return {.reward = right ? reward : -reward, .terminated = named_ == deck().size()};
}

void Autoencode::WriteState(std::span<double> state) const {
  state[plays() ? kPlay : kWatch] = 1;
  state[kModes + (named_ > 0 ? 0 : CardDeck::Suit(deck().Previous(1)))] = 1;
}

double Autoencode::ScriptedAction() const {
  return plays() ? CardDeck::Suit(deck().Previous(1 + named_)) : 0;
}

}  // namespace cosdt::envs
