#pragma once

#include <memory>

#include "envs/card_game.h"

namespace cosdt::envs {

// POPGym's HigherLower (popgym/envs/higher_lower.py): guess whether the next card's rank is higher
// or lower than that of the card in sight.
//   observation  13: the rank of the card just dealt, one-hot
//   action       Discrete(2): 0 is higher, 1 lower
//   reward       1 / cards for a right guess, less that for a wrong one, 0 if the ranks are the
//   same terminated   with the last card: cards - 1 steps
// 1, 2 and 3 packs of 52 cards. The full observation adds the guess that the cards left make the
// likelier one: the script counts cards and does not see the next one.
class HigherLower : public CardGame {
 public:
  static constexpr char kName[] = "popgym-higher-lower";
  static constexpr int kHigher = 0, kLower = 1;

  explicit HigherLower(Level level);
  std::unique_ptr<Env> Clone() const override { return std::make_unique<HigherLower>(*this); }

 private:
  void Start() override { deck().Deal(); }
  StepResult Advance(double action) override;
  void WriteState(std::span<double> state) const override;
  double ScriptedAction() const override;
};

}  // namespace cosdt::envs
