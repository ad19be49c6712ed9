#include "envs/hopper.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace cosdt::envs {
namespace {

using ::testing::HasSubstr;
using ::testing::Property;
using ::testing::Throws;

const std::vector<double> kStanding = {0, 1.25, 0, 0, 0, 0};
const std::vector<double> kStill(6, 0.0);
const std::vector<double> kNoTorque(3, 0.0);

// The step's outcome from a state that differs from standing still in one number.
StepResult StepFrom(Hopper& hopper, size_t index, double value) {
  std::vector<double> qpos = kStanding, qvel = kStill;
  (index < 6 ? qpos[index] : qvel[index - 6]) = value;
  hopper.SetState(qpos, qvel);
  return hopper.Step(kNoTorque);
}

TEST(HopperTest, ObservesPositionsWithoutXAndClippedVelocities) {
  Hopper hopper(Physics::kD4rl);
  hopper.SetState(std::vector<double>{7, 1, .1, .2, .3, .4},
                  std::vector<double>{1, 2, 30, -30, 5, 6});
  std::vector<double> observation(11);
  hopper.Observe(observation);
  EXPECT_EQ(observation, (std::vector<double>{1, .1, .2, .3, .4, 1, 2, 10, -10, 5, 6}));
}

TEST(HopperTest, ResetDrawsPositionsThenVelocitiesUniformly) {
  Hopper hopper(Physics::kD4rl);
  std::vector<double> qpos(6), qvel(6);
  double sum = 0, squares = 0;
  constexpr int kResets = 2000;
  for (int i = 0; i < kResets; ++i) {
    hopper.Reset(i);
    hopper.GetState(qpos, qvel);
    qpos[1] -= 1.25;
    for (const auto* half : {&qpos, &qvel}) {
      for (const double x : *half) {
        ASSERT_LE(std::abs(x), 0.005 + 1e-12);
        sum += x;
        squares += x * x;
      }
    }
  }
  EXPECT_NEAR(sum / (12 * kResets), 0, 1e-4);
  EXPECT_NEAR(squares / (12 * kResets), 0.005 * 0.005 / 3, 3e-7);
}

TEST(HopperTest, SameSeedSameEpisode) {
  std::vector<double> first(11), second(11);
  for (auto* observation : {&first, &second}) {
    Hopper hopper(Physics::kD4rl);
    hopper.Reset(3);
    for (int i = 0; i < 10; ++i) hopper.Step(std::vector<double>{.1, -.2, .3});
    hopper.Observe(*observation);
  }
  EXPECT_EQ(first, second);
}

TEST(HopperTest, RewardIsVelocityPlusOneMinusControlCost) {
  Hopper hopper(Physics::kD4rl);
  hopper.SetState(kStanding, kStill);
  const std::vector<double> action = {0.5, -0.25, 1};
  const StepResult step = hopper.Step(action);
  const double velocity = hopper.qpos()[0] / 0.008;
  EXPECT_NE(velocity, 0);
  EXPECT_NEAR(step.reward, velocity + 1 - 1e-3 * (0.25 + 0.0625 + 1), 1e-12);
}

TEST(HopperTest, D4rlClipsTheActionBeforeItsCost) {
  const std::vector<double> beyond = {3, -3, 0}, clipped = {1, -1, 0};
  for (const Physics physics : kAllPhysics) {
    Hopper hopper(physics);
    hopper.SetState(kStanding, kStill);
    const double reward = hopper.Step(beyond).reward;
    hopper.SetState(kStanding, kStill);
    // the actuators clip in every mode, so only the cost can differ
    EXPECT_NEAR(hopper.Step(clipped).reward - reward, physics == Physics::kD4rl ? 0 : 1e-3 * 16,
                1e-12);
  }
}

TEST(HopperTest, TerminatesBelowHeightOrBeyondAngle) {
  Hopper hopper(Physics::kD4rl);
  EXPECT_FALSE(StepFrom(hopper, 1, 1.25).terminated);
  EXPECT_TRUE(StepFrom(hopper, 1, 0.6).terminated);
  EXPECT_TRUE(StepFrom(hopper, 2, 0.21).terminated);
  EXPECT_TRUE(StepFrom(hopper, 2, -0.21).terminated);
  EXPECT_FALSE(StepFrom(hopper, 2, 0.1).terminated);
}

TEST(HopperTest, TerminatesWhereAnyStateButXAndZIsBeyond100) {
  Hopper hopper(Physics::kD4rl);
  EXPECT_FALSE(StepFrom(hopper, 0, 1000).terminated);
  EXPECT_FALSE(StepFrom(hopper, 6, 90).terminated);
  EXPECT_TRUE(StepFrom(hopper, 6, 110).terminated);
}

TEST(HopperTest, OnlyVersion5WithholdsTheHealthyRewardOnTheLastStep) {
  for (const Physics physics : kAllPhysics) {
    Hopper hopper(physics);
    const StepResult step = StepFrom(hopper, 2, 0.3);
    ASSERT_TRUE(step.terminated);
    const double velocity = hopper.qpos()[0] / 0.008;
    EXPECT_NEAR(step.reward - velocity, physics == Physics::kGymnasiumV5 ? 0 : 1, 1e-12);
  }
}

TEST(HopperTest, IsTruncatedAtTheHorizon) {
  Hopper hopper(Physics::kD4rl);
  hopper.SetState(kStanding, kStill);
  for (int i = 1; i < 1000; ++i) ASSERT_FALSE(hopper.Step(kNoTorque).truncated);
  EXPECT_TRUE(hopper.Step(kNoTorque).truncated);
}

TEST(HopperTest, RefusesActionsThatAreNotFinite) {
  Hopper hopper(Physics::kD4rl);
  EXPECT_THAT([&] { hopper.Step(std::vector<double>{0, NAN, 0}); },
              Throws<std::invalid_argument>(Property(
                  &std::invalid_argument::what,
                  HasSubstr("hopper: action: expected finite values, found nan at index 1"))));
  EXPECT_THROW(hopper.Step(std::vector<double>{0, 0, INFINITY}), std::invalid_argument);
}

TEST(HopperTest, RefusesActionsAndStatesOfTheWrongSize) {
  Hopper hopper(Physics::kD4rl);
  std::vector<double> small(5);
  EXPECT_THROW(hopper.Observe(small), std::invalid_argument);
  EXPECT_THROW(hopper.GetState(small, small), std::invalid_argument);
  EXPECT_THROW(hopper.SetState(std::vector<double>(6, NAN), kStill), std::invalid_argument);
  EXPECT_THAT([&] { hopper.Step(std::vector<double>(6)); },
              Throws<std::invalid_argument>(
                  Property(&std::invalid_argument::what, HasSubstr("expected 3 values, found 6"))));
  EXPECT_THAT(
      [&] { hopper.SetState(std::vector<double>(9), std::vector<double>(6)); },
      Throws<std::invalid_argument>(Property(&std::invalid_argument::what,
                                             HasSubstr("expected 6 and 6 values, found 9 and 6"))));
}

TEST(HopperTest, DivergenceEndsTheEpisodeAtTheLastGoodState) {
  Hopper hopper(Physics::kD4rl);
  std::vector<double> qvel = kStill;
  qvel[3] = 1e11;  // beyond what MuJoCo takes for a good state
  hopper.SetState(kStanding, qvel);
  const StepResult step = hopper.Step(kNoTorque);
  EXPECT_TRUE(step.terminated);
  EXPECT_TRUE(hopper.diverged());
  EXPECT_EQ(step.reward, 0);
  EXPECT_EQ(hopper.qvel()[3], 1e11) << "the state is not silently reset";
  EXPECT_THROW(hopper.Step(kNoTorque), std::logic_error);
  hopper.Reset(0);
  EXPECT_FALSE(hopper.diverged());
  EXPECT_FALSE(hopper.Step(kNoTorque).terminated);
}

TEST(HopperTest, ACloneGoesOnFromTheSameState) {
  Hopper hopper(Physics::kD4rl);
  hopper.Reset(2);
  const std::vector<double> action = {.3, .2, -.1};
  for (int i = 0; i < 5; ++i) hopper.Step(action);
  const auto clone = hopper.Clone();
  std::vector<double> first(11), second(11);
  hopper.Step(action);
  clone->Step(action);
  hopper.Observe(first);
  clone->Observe(second);
  EXPECT_EQ(first, second);
  hopper.Step(action);
  hopper.Observe(first);
  EXPECT_NE(first, second) << "the two do not share a state";
}

}  // namespace
}  // namespace cosdt::envs
