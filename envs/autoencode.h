#pragma once

#include <memory>

#include "envs/card_game.h"

namespace cosdt::envs {

// POPGym's Autoencode (popgym/envs/autoencode.py): watch all cards, then name their suits from the
// last to the first.
//   observation  6: the mode, one-hot (play, watch), then the suit of the card just dealt, one-hot.
//                The last card is shown in the mode play; after it the suit is always the first
//   action       Discrete(4): a suit
//   reward       in the mode play 1 / cards for the suit asked for, else less that
//   terminated   with the last suit: 2 cards - 1 steps
// 1, 2 and 3 packs of 52 cards. The full observation adds the suit asked for, 0 in the mode watch.
class Autoencode : public CardGame {
 public:
  static constexpr char kName[] = "popgym-autoencode";

  explicit Autoencode(Level level);
  std::unique_ptr<Env> Clone() const override { return std::make_unique<Autoencode>(*this); }

 private:
  static constexpr int kPlay = 0, kWatch = 1, kModes = 2;

  bool plays() const { return deck().left() == 0; }

  void Start() override;
  StepResult Advance(double action) override;
  void WriteState(std::span<double> state) const override;
  double ScriptedAction() const override;

  int named_ = 0;  // suits that were named
};

}  // namespace cosdt::envs
