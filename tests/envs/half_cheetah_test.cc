#include "envs/half_cheetah.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace cosdt::envs {
namespace {

TEST(HalfCheetahTest, ObservesVelocitiesWithoutClipping) {
  HalfCheetah cheetah(Physics::kD4rl);
  std::vector<double> qpos(9), qvel(9), observation(17);
  qpos[0] = 5;
  qpos[8] = 0.25;
  qvel[0] = 40;
  qvel[8] = -50;
  cheetah.SetState(qpos, qvel);
  cheetah.Observe(observation);
  EXPECT_EQ(observation[7], 0.25);
  EXPECT_EQ(observation[8], 40);
  EXPECT_EQ(observation[16], -50);
}

TEST(HalfCheetahTest, ResetDrawsUniformPositionsAndGaussianVelocities) {
  HalfCheetah cheetah(Physics::kD4rl);
  std::vector<double> qpos(9), qvel(9);
  constexpr int kResets = 2000;
  double position_squares = 0, velocity_squares = 0, velocity_fourths = 0;
  for (int i = 0; i < kResets; ++i) {
    cheetah.Reset(i);
    cheetah.GetState(qpos, qvel);
    for (const double q : qpos) {
      ASSERT_LE(std::abs(q), 0.1);
      position_squares += q * q;
    }
    for (const double v : qvel) {
      velocity_squares += v * v;
      velocity_fourths += v * v * v * v;
    }
  }
  const double n = 9.0 * kResets;
  EXPECT_NEAR(position_squares / n, 0.1 * 0.1 / 3, 1e-4);
  EXPECT_NEAR(velocity_squares / n, 0.01, 4e-4);
  // the kurtosis tells a Gaussian (3) from a uniform distribution (1.8)
  EXPECT_NEAR(velocity_fourths / n / (0.01 * 0.01), 3, 0.3);
}

TEST(HalfCheetahTest, RewardIsVelocityMinusControlCost) {
  HalfCheetah cheetah(Physics::kD4rl);
  cheetah.SetState(std::vector<double>(9), std::vector<double>(9));
  const StepResult step = cheetah.Step(std::vector<double>{1, -.5, 0, 0, 0, 1});
  EXPECT_NEAR(step.reward, cheetah.qpos()[0] / 0.05 - 0.1 * 2.25, 1e-12);
}

TEST(HalfCheetahTest, NeverTerminates) {
  HalfCheetah cheetah(Physics::kD4rl);
  std::vector<double> qpos(9), qvel(9);
  qpos[2] = 3;  // on its back
  cheetah.SetState(qpos, qvel);
  Rng rng = MakeRng(0, 0);
  std::uniform_real_distribution<double> uniform(-1, 1);
  std::vector<double> action(6);
  for (int i = 1; i <= 1000; ++i) {
    for (double& a : action) a = uniform(rng);
    const StepResult step = cheetah.Step(action);
    ASSERT_FALSE(step.terminated);
    ASSERT_EQ(step.truncated, i == 1000);
  }
}

}  // namespace
}  // namespace cosdt::envs
