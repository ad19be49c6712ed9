#pragma once

#include <span>
#include <vector>

#include "envs/level.h"
#include "envs/scripted_task.h"

namespace cosdt::envs {

// POPGym's deck (popgym/core/deck.py): packs of 52 cards, numbered from 0 on.
class CardDeck {
 public:
  static constexpr int kPack = 52, kSuits = 4, kRanks = 13, kColors = 2;
  static int Suit(int card) { return card % kSuits; }
  static int Rank(int card) { return card % kPack / kSuits; }
  static int Color(int card) { return card % kColors; }

  explicit CardDeck(int packs);

  // Puts all cards back, in random order, or in the order given, in which they are dealt. Throws
  // std::invalid_argument unless these are the deck's cards.
  void Shuffle(Rng& rng);
  void Arrange(std::span<const int> cards);

  // Deals the next card.
  void Deal() { ++dealt_; }

  int size() const { return static_cast<int>(cards_.size()); }
  int left() const { return size() - dealt_; }
  int dealt() const { return dealt_; }

  // A card that was dealt: 1 is the last one, 2 the one before it. Whether it was dealt is not
  // checked.
  int Previous(int back) const { return cards_[dealt_ - back]; }

 private:
  std::vector<int> cards_;
  int dealt_ = 0;
};

// A game of POPGym with one or more decks.
class CardGame : public ScriptedTask {
 public:
  // Starts an episode with the cards in this order, in which they are dealt: all of the first deck,
  // then all of the next. Throws std::invalid_argument unless these are the decks' cards.
  void ResetTo(std::span<const int> cards);

 protected:
  // Of `decks` decks of `packs` packs each.
  CardGame(EnvSpec spec, int shown, int packs, int decks = 1);

  // Deals what is in sight before the first step.
  virtual void Start() = 0;

  CardDeck& deck(int i = 0) { return decks_[i]; }
  const CardDeck& deck(int i = 0) const { return decks_[i]; }

 private:
  void Begin(Rng& rng) final;

  std::vector<CardDeck> decks_;
};

}  // namespace cosdt::envs
