#include "agents/critics/transitions.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <map>
#include <set>

namespace cosdt::agents {
namespace {

using datasets::Ending;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Property;
using ::testing::Throws;

// Three episodes of 3, 2 and 2 rows. Row i: observation i, action i / 10, reward i + 1.
datasets::Episodes ThreeEpisodes() {
  datasets::Episodes e;
  e.observation_size = e.action_size = 1;
  for (int i = 0; i < 7; ++i) {
    e.observations.push_back(static_cast<float>(i));
    e.actions.push_back(static_cast<float>(i) / 10);
    e.rewards.push_back(static_cast<float>(i + 1));
  }
  e.offsets = {0, 3, 5, 7};
  e.endings = {Ending::kTimeout, Ending::kTerminal, Ending::kPartial};
  datasets::SumReturns(e);
  return e;
}

const datasets::Normalizer kAsTheyAre = {{0}, {1}};

template <class Spoil>
auto ThrowsFor(const Spoil& spoil, const std::string& message) {
  datasets::Episodes e = ThreeEpisodes();
  spoil(e);
  EXPECT_THAT(
      [&] { Transitions(e, kAsTheyAre); },
      Throws<std::invalid_argument>(Property(&std::invalid_argument::what, HasSubstr(message))));
}

TEST(TransitionsTest, AreThoseOfD4rlsQlearningDataset) {
  const datasets::Episodes e = ThreeEpisodes();
  const Transitions transitions(e, kAsTheyAre);
  // all but the timeout's row 2 and the file's last row 6
  EXPECT_EQ(transitions.size(), 5);
  envs::Rng rng = envs::MakeRng(1, 0);
  TransitionBatch batch;
  std::map<float, int> drawn;
  for (int round = 0; round < 100; ++round) {
    transitions.Draw(BatchShare(nullptr, 10), rng, batch);
    for (int64_t i = 0; i < 10; ++i) {
      const float row = batch.pairs.data()[2 * i];
      ++drawn[row];
      EXPECT_EQ(batch.pairs.data()[2 * i + 1], row / 10);
      EXPECT_EQ(batch.rewards.data()[i], row + 1);
      EXPECT_EQ(batch.discounts.data()[i], row == 4 ? 0 : 0.99f);
      if (row == 4) continue;  // the terminal has no next row
      EXPECT_EQ(batch.next_pairs.data()[2 * i], row + 1);
      EXPECT_EQ(batch.next_actions.data()[i], (row + 1) / 10);
    }
  }
  for (const float row : {0, 1, 3, 4, 5}) EXPECT_NEAR(drawn[row], 200, 60) << row;
  EXPECT_EQ(drawn.size(), 5u);
}

TEST(TransitionsTest, NormalizesObservationsAndScalesRewards) {
  const datasets::Episodes e = ThreeEpisodes();
  const Transitions transitions(e, {{1}, {2}}, 10);
  TransitionBatch batch;
  batch.Require(1, 1, 1);
  transitions.Copy(3, 0, batch);
  EXPECT_EQ(batch.pairs.data()[0], 1);
  EXPECT_EQ(batch.next_pairs.data()[0], 1.5);
  EXPECT_EQ(batch.rewards.data()[0], 40);
  EXPECT_NEAR(transitions.largest_value(), 7000, 1e-6);
}

TEST(TransitionsTest, DataWithoutTerminalsAreTaken) {
  datasets::Episodes e = ThreeEpisodes();
  e.endings = {Ending::kTimeout, Ending::kTimeout, Ending::kTimeout};
  EXPECT_EQ(Transitions(e, kAsTheyAre).size(), 4);
}

TEST(TransitionsTest, RefusesWhatCannotBeLearned) {
  ThrowsFor([](auto& e) { e.rewards[4] = std::numeric_limits<float>::infinity(); },
            "rewards: expected finite values, found inf in row 4");
  ThrowsFor([](auto& e) { e.actions[1] = std::numeric_limits<float>::quiet_NaN(); },
            "actions: expected values in [-1, 1], found nan in row 1");
  ThrowsFor([](auto& e) { e.actions[5] = -1.5f; },
            "actions: expected values in [-1, 1], found -1.500000 in row 5");
  ThrowsFor([](auto& e) { e.observations[2] = std::numeric_limits<float>::quiet_NaN(); },
            "observations: expected finite values, found nan in row 2");
  ThrowsFor([](auto& e) { e.discrete_actions = 4; },
            "actions: expected continuous ones, found Discrete(4)");
  ThrowsFor(
      [](auto& e) {
        e.offsets = {0, 1, 2};
        e.endings = {Ending::kTimeout, Ending::kPartial};
      },
      "expected a step that a terminal or another step follows, found none");
}

TEST(RewardScaleTest, SpansAThousandOverWholeEpisodes) {
  datasets::Episodes e = ThreeEpisodes();  // returns 6, 9 and the partial one's 13
  EXPECT_NEAR(RewardScale(e), 1000.0 / 3, 1e-9);
  e.returns = {6, 6, 13};
  EXPECT_THROW(RewardScale(e), std::invalid_argument);
}

}  // namespace
}  // namespace cosdt::agents
