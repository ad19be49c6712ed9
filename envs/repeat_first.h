#pragma once

#include <memory>

#include "envs/card_game.h"

namespace cosdt::envs {

// POPGym's RepeatFirst (popgym/envs/repeat_first.py): name the suit of the first card at every
// step, while others are dealt.
//   observation  4: the suit of the card just dealt, one-hot
//   action       Discrete(4): a suit
//   reward       1 / (cards - 1) for the first card's suit, else less that
//   terminated   with the last card: cards - 1 steps
// 1, 8 and 16 packs of 52 cards. The full observation adds the first card's suit.
class RepeatFirst : public CardGame {
 public:
  static constexpr char kName[] = "popgym-repeat-first";

  explicit RepeatFirst(Level level);
  std::unique_ptr<Env> Clone() const override { return std::make_unique<RepeatFirst>(*this); }

 private:
  void Start() override { deck().Deal(); }
  StepResult Advance(double action) override;
  void WriteState(std::span<double> state) const override;
  double ScriptedAction() const override;
};

}  // namespace cosdt::envs
