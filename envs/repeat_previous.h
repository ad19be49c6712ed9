#pragma once

#include <memory>

#include "envs/card_game.h"

namespace cosdt::envs {

// POPGym's RepeatPrevious (popgym/envs/repeat_previous.py): name the suit of the card that was
// dealt k - 1 steps before the one in sight.
//   observation  4: the suit of the card just dealt, one-hot
//   action       Discrete(4): a suit
//   reward       1 / (cards - k) for that card's suit, else less that; 0 before there are k cards
//   terminated   with the last card: cards - 1 steps
// k is 4, 32 and 64 with 1, 2 and 3 packs of 52 cards. The full observation adds the suit asked
// for, 0 before there are k cards.
class RepeatPrevious : public CardGame {
 public:
  static constexpr char kName[] = "popgym-repeat-previous";

  explicit RepeatPrevious(Level level);
  std::unique_ptr<Env> Clone() const override { return std::make_unique<RepeatPrevious>(*this); }

 private:
  void Start() override { deck().Deal(); }
  StepResult Advance(double action) override;
  void WriteState(std::span<double> state) const override;
  double ScriptedAction() const override;

  int k_;
};

}  // namespace cosdt::envs
