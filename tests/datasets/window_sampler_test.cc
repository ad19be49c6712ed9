#include "datasets/window_sampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <stdexcept>
#include <vector>

#include "datasets/random.h"

namespace cosdt::datasets {
namespace {

using ::testing::ElementsAre;

// Episodes of the lengths given; every number is its row, an action minus it.
Episodes Counting(const std::vector<size_t>& lengths) {
  Episodes episodes;
  episodes.observation_size = 2;
  episodes.action_size = 1;
  episodes.offsets = {0};
  for (const size_t length : lengths) {
    episodes.offsets.push_back(episodes.offsets.back() + length);
    episodes.endings.push_back(Ending::kTerminal);
  }
  for (size_t row = 0; row < episodes.rows(); ++row) {
    const auto x = static_cast<float>(row);
    episodes.observations.insert(episodes.observations.end(), {x, x + 0.5f});
    episodes.actions.push_back(-x);
    episodes.rewards.push_back(1000);
  }
  SumReturns(episodes);
  return episodes;
}

struct Arrays {
  Arrays(size_t windows, size_t context)
      : observations(windows * context * 2, -7),
        actions(windows * context, -7),
        returns_to_go(windows * context, -7),
        timesteps(windows * context, -7),
        mask(std::make_unique<bool[]>(windows * context)),
        previous_actions(windows * context, -7),
        batch{observations,    actions, returns_to_go, timesteps, {mask.get(), windows * context},
              previous_actions} {}

  std::vector<float> observations, actions, returns_to_go;
  std::vector<int64_t> timesteps;
  std::unique_ptr<bool[]> mask;
  std::vector<float> previous_actions;
  WindowBatch batch;
};

TEST(WindowSamplerTest, PadsOnTheLeftWithAMask) {
  const Episodes episodes = Counting({4, 3});
  const WindowSampler sampler(episodes, {.context = 3});
  Arrays arrays(2, 3);
  sampler.Fill(std::vector<Window>{{1, 1, 2}, {0, 0, 3}}, nullptr, arrays.batch);
  EXPECT_THAT(arrays.observations, ElementsAre(0, 0, 5, 5.5, 6, 6.5, 0, 0.5, 1, 1.5, 2, 2.5));
  EXPECT_THAT(arrays.actions, ElementsAre(0, -5, -6, 0, -1, -2));
  EXPECT_THAT(arrays.returns_to_go, ElementsAre(0, 2, 1, 4, 3, 2));
  EXPECT_THAT(arrays.timesteps, ElementsAre(0, 1, 2, 0, 1, 2));
  EXPECT_THAT(arrays.batch.mask, ElementsAre(false, true, true, true, true, true));
}

TEST(WindowSamplerTest, PreviousActionsAreThoseOfTheEpisodesStepsBefore) {
  const Episodes episodes = Counting({4, 3});
  const WindowSampler sampler(episodes, {.context = 3});
  Arrays arrays(4, 3);
  sampler.Fill(std::vector<Window>{{1, 1, 2}, {0, 0, 3}, {1, 0, 3}, {0, 3, 1}}, nullptr,
               arrays.batch);
  EXPECT_THAT(arrays.previous_actions, ElementsAre(0, -4, -5, 0, 0, -1, 0, -4, -5, 0, 0, -2));
  arrays.batch.previous_actions = arrays.batch.previous_actions.first(11);
  EXPECT_THROW(sampler.Fill(std::vector<Window>(4), nullptr, arrays.batch), std::invalid_argument);
}

TEST(WindowSamplerTest, NormalisesRowsButNotThePadding) {
  const Episodes episodes = Counting({2});
  const WindowSampler sampler(episodes, {.context = 2});
  const Normalizer normalizer{{1, 1}, {2, 4}};
  Arrays arrays(1, 2);
  sampler.Fill(std::vector<Window>{{0, 1, 1}}, &normalizer, arrays.batch);
  EXPECT_THAT(arrays.observations, ElementsAre(0, 0, 0, 0.125));
}

TEST(WindowSamplerTest, ClampsTimestepsOfLongEpisodes) {
  const Episodes episodes = Counting({1200});
  const WindowSampler sampler(episodes, {.context = 4});
  Arrays arrays(1, 4);
  sampler.Fill(std::vector<Window>{{0, 998, 4}}, nullptr, arrays.batch);
  EXPECT_THAT(arrays.timesteps, ElementsAre(998, 999, 999, 999));
}

TEST(WindowSamplerTest, DrawsEveryRowAsAStartEquallyOften) {
  const Episodes episodes = Counting({1, 6, 3});
  WindowSampler sampler(episodes, {.context = 4, .seed = 5});
  std::vector<Window> windows(100000);
  sampler.Sample(windows);
  std::vector<int> starts(10);
  for (const Window& w : windows) {
    ASSERT_EQ(w.length,
              static_cast<int>(std::min<size_t>(4, episodes.length(w.episode) - w.start)));
    ++starts[episodes.offsets[w.episode] + w.start];
  }
  // 10,000 expected, a deviation of 95: a chance of 1e-6 for any to be off by 500
  for (const int count : starts) EXPECT_NEAR(count, 10000, 500);
}

TEST(WindowSamplerTest, WholeWindowsStartEquallyOftenWhereTheyFit) {
  const Episodes episodes = Counting({5, 40, 100});
  WindowSampler sampler(episodes, {.context = 20, .seed = 6, .whole = true});
  std::vector<Window> windows(145'000);
  sampler.Sample(windows);
  std::vector<std::vector<int>> starts = {std::vector<int>(1), std::vector<int>(21),
                                          std::vector<int>(81)};
  for (const Window& w : windows) {
    ASSERT_EQ(w.length, w.episode == 0 ? 5 : 20);
    ASSERT_LT(w.start, starts[w.episode].size());
    ++starts[w.episode][w.start];
  }
  EXPECT_NEAR(starts[0][0], 5000, 350);
  for (const int count : starts[1]) EXPECT_NEAR(count, 40'000 / 21, 5 * std::sqrt(40'000 / 21));
  for (const int count : starts[2]) EXPECT_NEAR(count, 100'000 / 81, 5 * std::sqrt(100'000 / 81));
}

TEST(WindowSamplerTest, TakesContextsFarBeyondTheEpisodes) {
  const Episodes episodes = Counting({5, 900});
  WindowSampler sampler(episodes, {.context = 2000});
  std::vector<Window> windows(8);
  sampler.Sample(windows);
  Arrays arrays(8, 2000);
  sampler.Fill(windows, nullptr, arrays.batch);
  for (size_t i = 0; i < windows.size(); ++i) {
    EXPECT_EQ(std::ranges::count(arrays.batch.mask.subspan(i * 2000, 2000), true),
              windows[i].length);
  }
}

TEST(WindowSamplerTest, ContinuesFromASavedPosition) {
  const Episodes episodes = Counting({50, 70});
  WindowSampler whole(episodes, {.context = 8, .seed = 3});
  WindowSampler resumed(episodes, {.context = 8, .seed = 3});
  std::vector<Window> a(20), b(20);
  whole.Sample(a);
  resumed.Sample(std::span(b).first(7));
  WindowSampler later(episodes, {.context = 8, .seed = 3});
  later.set_position(resumed.position());
  later.Sample(std::span(b).subspan(7));
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].episode, b[i].episode);
    EXPECT_EQ(a[i].start, b[i].start);
  }
}

TEST(WindowSamplerTest, DrawsDifferentlyForDifferentSeeds) {
  const Episodes episodes = Counting({1000});
  std::vector<Window> a(20), b(20);
  WindowSampler(episodes, {.seed = 0}).Sample(a);
  WindowSampler(episodes, {.seed = 1}).Sample(b);
  int same = 0;
  for (size_t i = 0; i < a.size(); ++i) same += a[i].start == b[i].start;
  EXPECT_LT(same, 5);
}

TEST(WindowSamplerTest, RefusesArraysAndOptionsThatDoNotFit) {
  const Episodes episodes = Counting({4});
  const WindowSampler sampler(episodes, {.context = 3});
  Arrays arrays(1, 2);
  EXPECT_THROW(sampler.Fill(std::vector<Window>{{0, 0, 3}}, nullptr, arrays.batch),
               std::invalid_argument);
  EXPECT_THROW(WindowSampler(episodes, {.context = 0}), std::invalid_argument);
  EXPECT_THROW(WindowSampler(episodes, {.return_scale = 0}), std::invalid_argument);
  EXPECT_THROW(WindowSampler(Episodes(), {}), std::invalid_argument);
}

// The first values of the generator with seed 1234567, as Rosetta Code lists them.
TEST(RandomTest, SplitMix64HasThePublishedValues) {
  uint64_t state = 1234567;
  for (const uint64_t expected : {6457827717110365317u, 3203168211198807973u, 9817491932198370423u,
                                  4593380528125082431u, 16408922859458223821u}) {
    EXPECT_EQ(SplitMix64(state), expected);
    state += 0x9e3779b97f4a7c15;
  }
}

}  // namespace
}  // namespace cosdt::datasets
