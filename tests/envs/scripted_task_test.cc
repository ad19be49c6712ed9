// What holds for all tasks without a simulator, and their scripts.
#include "envs/scripted_task.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <set>

#include "envs/card_game.h"
#include "envs/higher_lower.h"
#include "envs/registry.h"
#include "envs/repeat_first.h"
#include "envs/walked_tmaze.h"

namespace cosdt::envs {
namespace {

using ::testing::HasSubstr;
using ::testing::Property;
using ::testing::Throws;

std::vector<double> Observe(const Env& env) {
  std::vector<double> observation(env.spec().observation_size);
  env.Observe(observation);
  return observation;
}

struct Outcome {
  double episode_return = 0;
  int length = 0;
  StepResult last;
};

// Plays an episode with the script's actions, or random ones.
Outcome Play(Env& env, uint64_t seed, bool scripted) {
  Rng rng = MakeRng(seed, 99);
  Outcome outcome;
  env.Reset(seed);
  while (!outcome.last.terminated && !outcome.last.truncated) {
    const int n = env.spec().discrete_actions;
    double action = n > 0 ? std::uniform_int_distribution<int>(0, n - 1)(rng)
                          : std::uniform_real_distribution<double>(-1, 1)(rng);
    if (scripted) action = Observe(env.fully_observed()).back();
    outcome.last = env.Step(std::vector<double>{action});
    outcome.episode_return += outcome.last.reward;
    ++outcome.length;
  }
  return outcome;
}

struct Moments {
  double mean, standard_error;
};

Moments Returns(const std::string& name, int episodes, bool scripted) {
  const std::unique_ptr<Env> env = MakeEnv(name);
  double sum = 0, squares = 0;
  for (int i = 0; i < episodes; ++i) {
    const double r = Play(*env, 1000 + i, scripted).episode_return;
    sum += r;
    squares += r * r;
  }
  const double mean = sum / episodes;
  return {mean, std::sqrt(std::max(0.0, squares / episodes - mean * mean) / episodes)};
}

std::vector<std::string> AllNames() {
  std::vector<std::string> names = GameNames();
  names.insert(names.end(),
               {"rate-tmaze-3", "rate-tmaze-150", "rate-tmaze-max-150", "rate-tmaze-noise-50",
                "rate-tmaze-max-noise-50", "memory-rl-tmaze-1", "memory-rl-tmaze-1500"});
  return names;
}

TEST(ScriptedTaskTest, ATaskShowsTheBeginningOfItsFullObservation) {
  for (const std::string& name : AllNames()) {
    const std::unique_ptr<Env> env = MakeEnv(name);
    EXPECT_EQ(env->spec().name, name);
    EXPECT_EQ(env->fully_observed().spec().name, name);
    EXPECT_TRUE(env->fully_observed().spec().shows_script);
    EXPECT_FALSE(env->spec().shows_script);
    for (uint64_t seed = 0; seed < 3; ++seed) {
      env->Reset(seed);
      std::vector<double> full = Observe(env->fully_observed());
      EXPECT_GT(full.size(), env->spec().observation_size);
      full.resize(env->spec().observation_size);
      EXPECT_EQ(Observe(*env), full) << name;
    }
  }
}

TEST(ScriptedTaskTest, TheScriptsOfMemoryGetTheHighestReturn) {
  const std::map<std::string, int> lengths = {{"popgym-repeat-first-easy", 51},
                                              {"popgym-repeat-first-medium", 415},
                                              {"popgym-repeat-first-hard", 831},
                                              {"popgym-repeat-previous-easy", 51},
                                              {"popgym-repeat-previous-medium", 103},
                                              {"popgym-repeat-previous-hard", 155},
                                              {"popgym-autoencode-easy", 103},
                                              {"popgym-autoencode-medium", 207},
                                              {"popgym-autoencode-hard", 311},
                                              {"popgym-count-recall-easy", 51},
                                              {"popgym-count-recall-medium", 103},
                                              {"popgym-count-recall-hard", 207},
                                              {"rate-tmaze-3", 2},
                                              {"rate-tmaze-150", 149},
                                              {"rate-tmaze-noise-50", 49},
                                              {"rate-tmaze-9600", 9599},
                                              {"memory-rl-tmaze-1", 2},
                                              {"memory-rl-tmaze-1500", 1501}};
  for (const auto& [name, length] : lengths) {
    const std::unique_ptr<Env> env = MakeEnv(name);
    for (uint64_t seed = 0; seed < 4; ++seed) {
      const Outcome outcome = Play(*env, seed, true);
      EXPECT_NEAR(outcome.episode_return, 1, 1e-12) << name;
      EXPECT_EQ(outcome.length, length) << name;
      EXPECT_TRUE(outcome.last.terminated) << name;
      EXPECT_FALSE(outcome.last.truncated) << name;
    }
  }
}

TEST(ScriptedTaskTest, TheCartPoleScriptBalancesToTheEnd) {
  for (const auto& [level, steps] :
       std::map<std::string, int>{{"easy", 200}, {"medium", 400}, {"hard", 600}}) {
    const std::unique_ptr<Env> env = MakeEnv("popgym-position-only-cart-pole-" + level);
    for (uint64_t seed = 0; seed < 50; ++seed) {
      const Outcome outcome = Play(*env, seed, true);
      EXPECT_NEAR(outcome.episode_return, 1, 1e-12);
      EXPECT_EQ(outcome.length, steps);
      EXPECT_TRUE(outcome.last.truncated && !outcome.last.terminated);
    }
  }
}

TEST(ScriptedTaskTest, ThePendulumScriptSwingsUp) {
  for (const auto& [level, steps] :
       std::map<std::string, int>{{"easy", 200}, {"medium", 150}, {"hard", 100}}) {
    const std::string name = "popgym-position-only-pendulum-" + level;
    EXPECT_EQ(Play(*MakeEnv(name), 0, true).length, steps);
    const double scripted = Returns(name, 200, true).mean, random = Returns(name, 200, false).mean;
    EXPECT_GT(scripted, random + 0.3) << name;
    EXPECT_GT(scripted, 0.6) << name;
    // at the end it is upright and at rest
    const std::unique_ptr<Env> env = MakeEnv("popgym-position-only-pendulum-easy");
    for (uint64_t seed = 0; seed < 20; ++seed) {
      Play(*env, seed, true);
      const std::vector<double> state = Observe(env->fully_observed());
      EXPECT_GT(state[0], 0.99);
      EXPECT_LT(std::abs(state[2]), 0.1);
    }
  }
}

TEST(ScriptedTaskTest, RandomActionsGetWhatChanceGives) {
  const std::map<std::string, double> expected = {
      {"popgym-repeat-first-easy", 2 / 4.0 - 1},    {"popgym-repeat-previous-easy", 2 / 4.0 - 1},
      {"popgym-repeat-previous-hard", 2 / 4.0 - 1}, {"popgym-autoencode-easy", 2 / 4.0 - 1},
      {"popgym-count-recall-easy", 2 / 27.0 - 1},   {"popgym-count-recall-medium", 2 / 27.0 - 1},
      {"popgym-count-recall-hard", 2 / 17.0 - 1},   {"popgym-higher-lower-easy", 0}};
  for (const auto& [name, mean] : expected) {
    const Moments found = Returns(name, 400, false);
    EXPECT_NEAR(found.mean, mean, 5 * found.standard_error) << name;
  }
}

TEST(ScriptedTaskTest, HigherLowersScriptCountsCards) {
  // an index's rule that does not count: lower from the middle of the ranks on
  HigherLower game(Level::kEasy);
  double plain = 0;
  constexpr int kEpisodes = 400;
  for (int i = 0; i < kEpisodes; ++i) {
    game.Reset(1000 + i);
    for (StepResult step; !step.terminated; plain += step.reward) {
      const std::vector<double> observation = Observe(game);
      const auto rank = std::ranges::find(observation, 1) - observation.begin();
      step = game.Step(std::vector<double>{rank > 6 ? 1.0 : 0.0});
    }
  }
  const Moments counted = Returns("popgym-higher-lower-easy", kEpisodes, true);
  EXPECT_GT(counted.mean, plain / kEpisodes + 0.005);
  EXPECT_GT(counted.mean, 0.45);
  EXPECT_LT(counted.mean, 0.7);
}

TEST(ScriptedTaskTest, DiscreteActionsAreIndices) {
  const std::map<std::string, int> counts = {{"popgym-repeat-first-easy", 4},
                                             {"popgym-autoencode-hard", 4},
                                             {"popgym-count-recall-easy", 27},
                                             {"popgym-count-recall-medium", 27},
                                             {"popgym-count-recall-hard", 17},
                                             {"popgym-higher-lower-easy", 2},
                                             {"rate-tmaze-150", 4},
                                             {"popgym-position-only-cart-pole-easy", 2}};
  for (const auto& [name, n] : counts) {
    const std::unique_ptr<Env> env = MakeEnv(name);
    EXPECT_EQ(ActionSpace(env->spec()), "Discrete(" + std::to_string(n) + ")");
    EXPECT_EQ(env->spec().action_size, 1);
    env->Step(std::vector<double>{n - 1.0});
    for (const auto& [action, text] : std::map<double, std::string>{
             {n, std::to_string(n)}, {-1, "-1"}, {0.5, "0.5"}, {1e300, "1e+300"}}) {
      EXPECT_THAT(
          [&] { env->Step(std::vector<double>{action}); },
          Throws<std::invalid_argument>(Property(
              &std::exception::what, HasSubstr(name + ": action: expected an integer from 0 to " +
                                               std::to_string(n - 1) + ", found " + text))));
    }
    EXPECT_THROW(env->Step(std::vector<double>{NAN}), std::invalid_argument);
    EXPECT_THROW(env->Step(std::vector<double>{0, 0}), std::invalid_argument);
  }
  EXPECT_EQ(ActionSpace(MakeEnv("popgym-position-only-pendulum-easy")->spec()), "");
}

TEST(ScriptedTaskTest, RefusesStepsBeyondTheEnd) {
  const std::unique_ptr<Env> env = MakeEnv("popgym-repeat-first-easy");
  Play(*env, 0, false);
  EXPECT_THAT(
      [&] { env->Step(std::vector<double>{0}); },
      Throws<std::logic_error>(Property(
          &std::exception::what, HasSubstr("popgym-repeat-first-easy: the episode has ended"))));
}

TEST(ScriptedTaskTest, ACloneContinuesFromTheSameStep) {
  for (const std::string& name : AllNames()) {
    const std::unique_ptr<Env> env = MakeEnv(name);
    env->Reset(5);
    env->Step(std::vector<double>{0});
    const std::unique_ptr<Env> clone = env->Clone();
    const StepResult a = env->Step(std::vector<double>{1}), b = clone->Step(std::vector<double>{1});
    EXPECT_EQ(a.reward, b.reward) << name;
    EXPECT_EQ(Observe(env->fully_observed()), Observe(clone->fully_observed())) << name;
  }
}

TEST(CardDeckTest, HoldsEveryCardOnceAndDealsThemInAnyOrder) {
  Rng rng = MakeRng(3, 0);
  CardDeck deck(2);
  ASSERT_EQ(deck.size(), 104);
  std::map<int, int> first, suits, ranks, colors;
  for (int i = 0; i < 400; ++i) {
    deck.Shuffle(rng);
    std::set<int> cards;
    while (deck.left() > 0) {
      deck.Deal();
      cards.insert(deck.Previous(1));
      if (i > 0) continue;
      ++suits[CardDeck::Suit(deck.Previous(1))];
      ++ranks[CardDeck::Rank(deck.Previous(1))];
      ++colors[CardDeck::Color(deck.Previous(1))];
    }
    EXPECT_EQ(cards.size(), 104u);
    ++first[CardDeck::Suit(deck.Previous(104))];
  }
  for (int suit = 0; suit < 4; ++suit) {
    EXPECT_EQ(suits[suit], 26);
    EXPECT_NEAR(first[suit], 100, 5 * std::sqrt(400 * 0.25 * 0.75));
  }
  ASSERT_EQ(ranks.size(), 13u);
  for (const auto& [rank, count] : ranks) EXPECT_EQ(count, 8);
  EXPECT_EQ(colors[0], 52);
}

TEST(CardGameTest, IsResetToItsOwnCardsOnly) {
  RepeatFirst game(Level::kEasy);
  std::vector<int> cards(52);
  std::iota(cards.begin(), cards.end(), 0);
  game.ResetTo(cards);
  EXPECT_EQ(Observe(game), (std::vector<double>{1, 0, 0, 0, 0}));
  cards[7] = 8;
  EXPECT_THROW(game.ResetTo(cards), std::invalid_argument);
  cards.pop_back();
  EXPECT_THROW(game.ResetTo(cards), std::invalid_argument);
}

TEST(RateTMazeTest, VariedCorridorsAreOfEveryLengthAndNoiseOfEveryValue) {
  const std::unique_ptr<Env> env = MakeEnv("rate-tmaze-max-noise-12");
  std::map<int, int> lengths, noise;
  constexpr int kEpisodes = 2000;
  for (int i = 0; i < kEpisodes; ++i) {
    const Outcome outcome = Play(*env, i, true);
    EXPECT_EQ(outcome.episode_return, 1);
    ++lengths[outcome.length];
    ++noise[static_cast<int>(Observe(*env)[3])];
  }
  ASSERT_EQ(lengths.size(), 10u);
  for (const auto& [length, count] : lengths) {
    EXPECT_TRUE(length >= 2 && length <= 11);
    EXPECT_NEAR(count, 200, 5 * std::sqrt(200 * 0.9));
  }
  ASSERT_EQ(noise.size(), 3u);
  for (const int value : {-1, 0, 1}) EXPECT_NEAR(noise[value], kEpisodes / 3.0, 5 * 21.1);
}

TEST(WalkedTMazeTest, OnlyTheFirstObservationTellsTheGoal) {
  for (const char* name : {"rate-tmaze-30", "memory-rl-tmaze-30"}) {
    const std::unique_ptr<Env> env = MakeEnv(name);
    std::map<double, std::vector<std::vector<double>>> seen;  // after the start, by goal
    for (uint64_t seed = 0; seed < 20; ++seed) {
      env->Reset(seed);
      const double goal = Observe(*env)[1];
      ASSERT_EQ(std::abs(goal), 1);
      std::vector<std::vector<double>>& episode = seen[goal];
      episode.clear();
      for (int t = 0; t < 28; ++t) {
        env->Step(std::vector<double>{t % 3 == 0 ? 2.0 : 0.0});
        episode.push_back(Observe(*env));
      }
    }
    ASSERT_EQ(seen.size(), 2u);
    EXPECT_EQ(seen[1], seen[-1]) << name;
  }
}

}  // namespace
}  // namespace cosdt::envs
