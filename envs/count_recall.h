#pragma once

#include <memory>
#include <vector>

#include "envs/card_game.h"

namespace cosdt::envs {

// POPGym's CountRecall (popgym/envs/count_recall.py): say how many cards of a kind have been dealt,
// the one in sight included. A second deck deals the kinds that are asked for.
//   observation  2 kinds: the kind of the card just dealt and the kind asked for, each one-hot
//   action       Discrete(cards / kinds + 1): the count
//   reward       1 / (cards - 1) for the right count, else less that
//   terminated   with the last card: cards - 1 steps
// Kinds are the 2 colors of 1 pack of 52 cards, the 4 suits of 2 and the 13 ranks of 4. The full
// observation adds the right count.
class CountRecall : public CardGame {
 public:
  static constexpr char kName[] = "popgym-count-recall";

  explicit CountRecall(Level level);
  std::unique_ptr<Env> Clone() const override { return std::make_unique<CountRecall>(*this); }

 private:
  int Kind(int deck_index) const { return kind_of_(deck(deck_index).Previous(1)); }

  void Start() override;
  void DealBoth();
  StepResult Advance(double action) override;
  void WriteState(std::span<double> state) const override;
  double ScriptedAction() const override { return counts_[Kind(1)]; }

  int (*kind_of_)(int card);
  std::vector<int> counts_;  // of each kind
};

}  // namespace cosdt::envs
