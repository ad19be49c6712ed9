#include "envs/walker2d.h"

#include <gtest/gtest.h>
#include <mujoco/mujoco.h>

#include <cmath>
#include <vector>

namespace cosdt::envs {
namespace {

const std::vector<double> kStill(9, 0.0);
const std::vector<double> kNoTorque(6, 0.0);

StepResult StepFrom(Walker2d& walker, double z, double angle, std::vector<double> qvel = kStill) {
  std::vector<double> qpos(9);
  qpos[1] = z;
  qpos[2] = angle;
  walker.SetState(qpos, qvel);
  return walker.Step(kNoTorque);
}

TEST(Walker2dTest, TerminatesOutsideHeightAndAngle) {
  Walker2d walker(Physics::kD4rl);
  EXPECT_FALSE(StepFrom(walker, 1.25, 0).terminated);
  EXPECT_TRUE(StepFrom(walker, 0.75, 0).terminated);
  EXPECT_TRUE(StepFrom(walker, 2.1, 0).terminated);
  EXPECT_FALSE(StepFrom(walker, 1.25, 0.95).terminated);
  EXPECT_TRUE(StepFrom(walker, 1.25, 1.05).terminated);
  EXPECT_TRUE(StepFrom(walker, 1.25, -1.05).terminated);
}

TEST(Walker2dTest, DoesNotTestOtherStates) {
  Walker2d walker(Physics::kD4rl);
  std::vector<double> fast = kStill;
  fast[0] = 150;
  EXPECT_FALSE(StepFrom(walker, 1.25, 0, fast).terminated);
}

TEST(Walker2dTest, OnlyVersion5WithholdsTheHealthyRewardOnTheLastStep) {
  for (const Physics physics : kAllPhysics) {
    Walker2d walker(physics);
    const StepResult step = StepFrom(walker, 1.25, 1.2);
    ASSERT_TRUE(step.terminated);
    EXPECT_NEAR(step.reward - walker.qpos()[0] / 0.008, physics == Physics::kGymnasiumV5 ? 0 : 1,
                1e-12);
  }
}

// MuJoCo looks at a state before a step: what the last substep of a step ruins, it does not report.
TEST(Walker2dTest, DivergenceInTheLastSubstepIsSeen) {
  Rng rng = MakeRng(0, 0);
  std::normal_distribution<double> normal(0, 3000);
  Walker2d walker(Physics::kD4rl);
  std::vector<double> qpos(9), qvel(9), observation(17);
  qpos[1] = 1.25;
  int unreported = 0;
  for (int i = 0; i < 3000; ++i) {
    for (double& v : qvel) v = normal(rng);
    walker.SetState(qpos, qvel);
    const StepResult step = walker.Step(kNoTorque);
    for (const double q : walker.qpos()) ASSERT_LT(std::abs(q), 1e10);
    if (!walker.diverged()) continue;
    ASSERT_TRUE(step.terminated);
    ASSERT_EQ(step.reward, 0);
    int warnings = 0;
    for (const int kind : {mjWARN_BADQPOS, mjWARN_BADQVEL, mjWARN_BADQACC}) {
      warnings += walker.data()->warning[kind].number;
    }
    unreported += warnings == 0;
  }
  EXPECT_GT(unreported, 0) << "the case that this test is for did not occur";
}

TEST(Walker2dTest, OnlyVersion5HasEqualFeet) {
  for (const Physics physics : kAllPhysics) {
    const Walker2d walker(physics);
    const auto friction = [&](const char* geom) {
      return walker.model()->geom_friction[3 * mj_name2id(walker.model(), mjOBJ_GEOM, geom)];
    };
    EXPECT_EQ(friction("foot"), physics == Physics::kGymnasiumV5 ? 1.9 : 0.9);
    EXPECT_EQ(friction("foot_left"), 1.9);
    EXPECT_EQ(friction("floor"), 0.7);
  }
}

TEST(Walker2dTest, StartsStandingAndClipsVelocities) {
  Walker2d walker(Physics::kD4rl);
  walker.Reset(0);
  std::vector<double> observation(17);
  walker.Observe(observation);
  EXPECT_NEAR(observation[0], 1.25, 0.005);
  std::vector<double> fast = kStill;
  fast[8] = -20;
  std::vector<double> qpos(9);
  walker.SetState(qpos, fast);
  walker.Observe(observation);
  EXPECT_EQ(observation[16], -10);
}

}  // namespace
}  // namespace cosdt::envs
