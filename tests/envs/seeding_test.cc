// Initial states by gym's seeding against those of gym 0.21 (make_gym_golden.py), and how they are
// dealt.
#include "envs/seeding.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <string>
#include <vector>

#include "envs/mujoco_env.h"
#include "envs/registry.h"

namespace cosdt::envs {
namespace {

using ::testing::Property;
using ::testing::StrEq;
using ::testing::Throws;

template <typename T>
T Read(std::istream& stream) {
  T value{};
  stream.read(reinterpret_cast<char*>(&value), sizeof value);
  return value;
}

class GymSeedingTest : public ::testing::TestWithParam<std::pair<const char*, const char*>> {};

TEST_P(GymSeedingTest, InitialStatesAreGyms) {
  const auto& [name, file] = GetParam();
  const auto owner = MakeEnv(name);
  auto& body = dynamic_cast<MujocoEnv&>(*owner);
  std::ifstream stream(COSDT_SOURCE_DIR "/tests/envs/gym_" + std::string(file) + ".bin",
                       std::ios::binary);
  ASSERT_EQ(Read<int32_t>(stream), body.nq());
  ASSERT_EQ(Read<int32_t>(stream), body.nv());
  const int resets = Read<int32_t>(stream);
  ASSERT_EQ(resets, 30);
  for (const uint64_t expected_seed : {0ull, 1ull, 4294967296ull, 18446744073709551615ull}) {
    const uint64_t seed = Read<uint64_t>(stream);
    ASSERT_EQ(seed, expected_seed);
    GymNoise noise(seed);
    for (int reset = 0; reset < resets; ++reset) {
      body.ResetFrom(noise, 0);
      // a rounding of the logarithm is allowed
      for (const double q : body.qpos()) ASSERT_NEAR(q, Read<double>(stream), 1e-15) << reset;
      for (const double v : body.qvel()) ASSERT_NEAR(v, Read<double>(stream), 1e-15) << reset;
    }
  }
  EXPECT_TRUE(stream);
}

INSTANTIATE_TEST_SUITE_P(Bodies, GymSeedingTest,
                         ::testing::Values(std::pair{"hopper", "hopper"},
                                           std::pair{"halfcheetah", "half_cheetah"},
                                           std::pair{"walker2d", "walker2d"}),
                         [](const auto& test) { return test.param.first; });

std::vector<float> Start(EpisodeStarts& starts, VectorEnv& envs, int row, int episode) {
  starts.Start(envs, row, episode);
  const auto seen = envs.observation(row);
  return {seen.begin(), seen.end()};
}

TEST(EpisodeStartsTest, EpisodesAreDealtInOrderWhateverTheirRows) {
  const auto env = MakeEnv("halfcheetah");
  ThreadPool pool(1);
  VectorEnv envs(*env, 3, pool);
  EpisodeStarts starts(env->spec(), Seeding::kGym, 7);
  GymNoise noise(7);
  const auto alone = env->Clone();
  std::vector<double> observation(17);
  std::vector<std::vector<float>> first;
  for (const int row : {2, 0, 1, 1, 2}) {
    const int episode = static_cast<int>(first.size());
    first.push_back(Start(starts, envs, row, episode));
    alone->ResetFrom(noise, 0);
    alone->Observe(observation);
    EXPECT_EQ(first.back(), std::vector<float>(observation.begin(), observation.end())) << episode;
  }
  // the next target's episodes are the same again
  EXPECT_EQ(Start(starts, envs, 0, 0), first[0]);
  EXPECT_EQ(Start(starts, envs, 2, 1), first[1]);
  // one process of several plays only some
  EXPECT_EQ(Start(starts, envs, 0, 4), first[4]);
  EXPECT_EQ(Start(starts, envs, 0, 3), first[3]);
}

TEST(EpisodeStartsTest, StreamsAreTheEpisodesOwn) {
  const auto env = MakeEnv("hopper");
  ThreadPool pool(1);
  VectorEnv envs(*env, 2, pool);
  EpisodeStarts starts(env->spec(), Seeding::kStreams, 7);
  const std::vector<float> fifth = Start(starts, envs, 0, 5);
  envs.Reset(1, StreamSeed(7, 5));
  EXPECT_TRUE(std::ranges::equal(envs.observation(1), fifth));
}

TEST(EpisodeStartsTest, ATasksBodyBeginsAsTheBodyDoesAndItsOwnDrawsFollowItsSeed) {
  const auto body = MakeEnv("hopper"), task = MakeEnv("hopper-dropped-50");
  GymNoise for_body(3), for_task(3);
  body->ResetFrom(for_body, 0);
  task->ResetFrom(for_task, 11);
  const auto same = task->Clone();
  GymNoise again(3);
  same->ResetFrom(again, 11);
  std::vector<double> a(11), b(11), shown(12), shown_again(12);
  body->Observe(a);
  task->fully_observed().Observe(b);
  EXPECT_EQ(a, b);
  for (int step = 0; step < 15; ++step) {
    task->Step(std::vector<double>(3));
    same->Step(std::vector<double>(3));
    task->Observe(shown);
    same->Observe(shown_again);
    EXPECT_EQ(shown, shown_again) << step;
  }
}

TEST(EpisodeStartsTest, ATaskWithoutABodyHasNone) {
  const auto maze = MakeEnv("tmaze-10");
  EXPECT_THAT([&] { EpisodeStarts(maze->spec(), Seeding::kGym, 0); },
              Throws<std::invalid_argument>(Property(
                  &std::invalid_argument::what,
                  StrEq("seeding: expected streams for tmaze-10, which has no body, found gym"))));
  GymNoise noise(0);
  EXPECT_THROW(maze->ResetFrom(noise, 0), std::logic_error);
}

TEST(SeedingTest, NamesAreRead) {
  for (const Seeding seeding : kAllSeedings) EXPECT_EQ(ParseSeeding(SeedingName(seeding)), seeding);
  EXPECT_THAT([] { ParseSeeding("numpy"); },
              Throws<std::invalid_argument>(
                  Property(&std::invalid_argument::what,
                           StrEq("seeding: expected one of streams, gym, found 'numpy'"))));
}

}  // namespace
}  // namespace cosdt::envs
