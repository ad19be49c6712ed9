#include "agents/rollout/physics_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <stdexcept>

#include "agents/rollout/collect.h"
#include "envs/registry.h"
#include "tests/shared_files.h"

namespace cosdt::agents {
namespace {

using envs::Physics;

datasets::Transitions CollectRandom(const std::string& env, Physics physics) {
  const std::unique_ptr<envs::Env> body = envs::MakeEnv(env, physics);
  std::vector<WeightedPolicy> policies;
  policies.push_back({MakeRandomPolicy(body->spec()), 1});
  CollectOptions options;
  options.transitions = 1500;
  return Collect(*body, policies, options);
}

TEST(ReplayTest, TellsWhoseBodyMadeAFile) {
  for (const std::string& env : envs::BodyNames()) {
    for (const Physics physics : envs::kAllPhysics) {
      datasets::Transitions t = CollectRandom(env, physics);
      // half cheetah never terminates: nothing tells v4 from v5
      std::string expected = PhysicsName(physics);
      if (env == "halfcheetah" && physics != Physics::kD4rl) expected = "gymnasium";
      PhysicsReport report = ResimulateTransitions(t, env);
      EXPECT_EQ(report.verdict, expected) << env;
      EXPECT_FALSE(report.rebuilt);
      EXPECT_EQ(report.transitions, 1500);
      EXPECT_LT(report.residuals.at(physics).max, 1e-3) << env;

      // states rebuilt from observations
      t.qpos.clear();
      t.qvel.clear();
      t.nq = t.nv = 0;
      report = ResimulateTransitions(t, env);
      EXPECT_EQ(report.verdict, expected) << env << " from observations";
      EXPECT_TRUE(report.rebuilt);
      EXPECT_GT(report.transitions, 200);
    }
  }
}

TEST(ReplayTest, TakesTheNextRowIfNextObservationsAreMissing) {
  datasets::Transitions t = CollectRandom("hopper", Physics::kD4rl);
  t.next_observations.clear();
  EXPECT_EQ(ResimulateTransitions(t, "hopper").verdict.substr(0, 4), "d4rl");
}

TEST(ReplayTest, SaysNoneIfNoBodyFits) {
  datasets::Transitions t = CollectRandom("hopper", Physics::kD4rl);
  for (float& a : t.actions) a = -a;
  EXPECT_EQ(ResimulateTransitions(t, "hopper").verdict, "none");
}

TEST(ReplayTest, LeavesOutRowsThatCannotBeStepped) {
  datasets::Transitions t = CollectRandom("hopper", Physics::kD4rl);
  for (float& a : t.actions) a = NAN;
  const PhysicsReport report = ResimulateTransitions(t, "hopper");
  EXPECT_EQ(report.transitions, 0);
  EXPECT_EQ(report.verdict, "");
  EXPECT_THROW(ResimulateTransitions(t, "halfcheetah"), std::invalid_argument);
}

TEST(ReplayTest, FindsD4rlsBodyInTheSampleFiles) {
  for (const char* name : {"hopper_medium", "halfcheetah_medium_expert"}) {
    const std::string path = "d4rl_samples/" + std::string(name) + "-sample.hdf5";
    COSDT_NEEDS_SHARED(path);
    const datasets::Transitions t = datasets::ReadTransitions(datasets::D4rlFile(SharedFile(path)));
    const PhysicsReport report =
        ResimulateTransitions(t, std::string(name).substr(0, std::string(name).find('_')));
    EXPECT_EQ(report.verdict, "d4rl");
    EXPECT_LT(report.residuals.at(Physics::kD4rl).max, 2e-6) << name;
    EXPECT_GT(report.residuals.at(Physics::kGymnasiumV4).median, 5e-3) << name;
  }
}

}  // namespace
}  // namespace cosdt::agents
