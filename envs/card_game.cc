#include "envs/card_game.h"

#include <algorithm>
#include <numeric>
#include <stdexcept>
#include <string>
#include <utility>

namespace cosdt::envs {

CardDeck::CardDeck(int packs) : cards_(static_cast<size_t>(packs) * kPack) {
  std::iota(cards_.begin(), cards_.end(), 0);
}

void CardDeck::Shuffle(Rng& rng) {
  std::iota(cards_.begin(), cards_.end(), 0);
  std::ranges::shuffle(cards_, rng);
  dealt_ = 0;
}

void CardDeck::Arrange(std::span<const int> cards) {
  std::vector<int> sorted(cards.begin(), cards.end());
  std::ranges::sort(sorted);
  for (int i = 0; i < size(); ++i) {
    if (sorted.size() == cards_.size() && sorted[i] == i) continue;
    throw std::invalid_argument("deck: expected each card of 0 to " + std::to_string(size() - 1) +
                                " once, found " + std::to_string(cards.size()) + " others");
  }
  cards_.assign(cards.begin(), cards.end());
  dealt_ = 0;
}

CardGame::CardGame(EnvSpec spec, int shown, int packs, int decks)
    : ScriptedTask(std::move(spec), shown, /*hidden=*/0),
      decks_(static_cast<size_t>(decks), CardDeck(packs)) {}

void CardGame::Begin(Rng& rng) {
  for (CardDeck& deck : decks_) deck.Shuffle(rng);
  Start();
}

void CardGame::ResetTo(std::span<const int> cards) {
  const size_t each = deck().size();
  if (cards.size() != each * decks_.size()) {
    throw std::invalid_argument(spec().name + ": deck: expected " +
                                std::to_string(each * decks_.size()) + " cards, found " +
                                std::to_string(cards.size()));
  }
  for (size_t i = 0; i < decks_.size(); ++i) decks_[i].Arrange(cards.subspan(i * each, each));
  Start();
  Restart();
}

}  // namespace cosdt::envs
