#include "agents/rollout/doctor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <utility>

#include "agents/policies/demo_policies.h"
#include "agents/policies/gaussian_policy.h"
#include "agents/rollout/collect.h"
#include "datasets/hdf5_writer.h"
#include "datasets/policy_file.h"
#include "datasets/sha256.h"
#include "datasets/transitions.h"
#include "envs/registry.h"

namespace cosdt::agents {
namespace {

using envs::Physics;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class DoctorTest : public ::testing::Test {
 protected:
  DoctorTest() : folder_(::testing::TempDir() + "/doctor_" + std::to_string(getpid())) {
    std::filesystem::create_directories(folder_);
  }
  ~DoctorTest() override { std::filesystem::remove_all(folder_); }

  // Random actions in hopper; the file says `physics`, whatever made it.
  static datasets::Transitions Hopper(Physics made_in, const std::string& physics) {
    const std::unique_ptr<envs::Env> body = envs::MakeEnv("hopper", made_in);
    std::vector<WeightedPolicy> policies;
    policies.push_back({MakeRandomPolicy(body->spec()), 1});
    CollectOptions options;
    options.transitions = 600;
    datasets::Transitions transitions = Collect(*body, policies, options);
    transitions.physics = physics;
    return transitions;
  }

  std::string Write(const datasets::Transitions& transitions, const std::string& policy = "",
                    const std::string& name = "file.hdf5") const {
    const std::string path = folder_ + "/" + name;
    datasets::Hdf5Writer writer(path);
    datasets::WriteTransitions(transitions, writer);
    if (!policy.empty()) datasets::CopyPolicy(*OpenDemoPolicy(policy), writer);
    writer.Commit();
    return path;
  }

  static std::vector<std::string> Codes(const std::vector<datasets::Finding>& findings) {
    std::vector<std::string> codes;
    for (const datasets::Finding& f : findings) codes.push_back(f.code);
    return codes;
  }

  std::string folder_;
};

TEST_F(DoctorTest, DescribesAFileThatIsFit) {
  const datasets::Transitions t = Hopper(Physics::kD4rl, "d4rl");
  const std::string path = Write(t);
  const Diagnosis diagnosis = Diagnose(path);
  EXPECT_THAT(Codes(diagnosis.check.findings), IsEmpty());
  EXPECT_EQ(diagnosis.env, "hopper");
  EXPECT_EQ(diagnosis.sha256, datasets::Sha256OfFile(path));
  ASSERT_TRUE(diagnosis.physics && diagnosis.returns && diagnosis.recorded);
  EXPECT_EQ(diagnosis.recorded->physics, "d4rl");
  EXPECT_EQ(diagnosis.physics->verdict, "d4rl");
  EXPECT_LT(diagnosis.physics->residuals.at(Physics::kD4rl).max, 1e-3);
  EXPECT_THAT(diagnosis.policy_returns, IsEmpty());

  // complete episodes by hand
  double all = 0, sum = 0;
  int episodes = 0;
  for (size_t row = 0; row < t.rows(); ++row) {
    sum += t.rewards[row];
    if (!t.terminals[row] && !t.timeouts[row]) continue;
    all += std::exchange(sum, 0);
    ++episodes;
  }
  EXPECT_NEAR(diagnosis.returns->mean, all / episodes, 1e-9);
}

TEST_F(DoctorTest, FindsThatAFileSaysAnotherPhysics) {
  const Diagnosis diagnosis = Diagnose(Write(Hopper(Physics::kGymnasiumV5, "d4rl")));
  ASSERT_THAT(Codes(diagnosis.check.findings), ElementsAre("physics"));
  EXPECT_EQ(diagnosis.check.findings[0].key, "metadata/physics");
  EXPECT_EQ(diagnosis.physics->verdict, "gymnasium-v5");
  EXPECT_EQ(Codes(diagnosis.check.notes).back(), "physics");
}

TEST_F(DoctorTest, PlaysTheFilesOwnPolicyInEveryPhysicsMode) {
  const std::string path = Write(Hopper(Physics::kD4rl, "d4rl"), "demo/hopper-medium");
  DoctorOptions options;
  options.rollout = {.episodes = 1, .seed = 3};
  std::vector<Physics> played;
  options.before_rollout = [&](Physics physics) { played.push_back(physics); };
  const Diagnosis diagnosis = Diagnose(path, options);
  EXPECT_THAT(played, SizeIs(std::size(envs::kAllPhysics)));
  for (const Physics physics : envs::kAllPhysics) {
    const std::unique_ptr<envs::Env> body = envs::MakeEnv("hopper", physics);
    const std::unique_ptr<Policy> policy =
        LoadGaussianPolicy(*OpenDemoPolicy("demo/hopper-medium"), body->spec(), false);
    EXPECT_EQ(diagnosis.policy_returns.at(physics),
              Rollout(*body, *policy, options.rollout).returns);
  }
  options.play_policy = false;
  EXPECT_THAT(Diagnose(path, options).policy_returns, IsEmpty());
}

TEST_F(DoctorTest, WhatCannotBeReadIsAFinding) {
  const std::string text = folder_ + "/text.hdf5";
  std::ofstream(text) << "text";
  Diagnosis diagnosis = Diagnose(text);
  ASSERT_THAT(Codes(diagnosis.check.findings), ElementsAre("file"));
  EXPECT_EQ(diagnosis.check.findings[0].detail, "expected a readable HDF5 file, found text");
  EXPECT_FALSE(diagnosis.physics || diagnosis.returns || diagnosis.recorded);

  datasets::Transitions t = Hopper(Physics::kD4rl, "d4rl");
  t.terminals[7] = 2;
  diagnosis = Diagnose(Write(t));
  ASSERT_THAT(Codes(diagnosis.check.findings), ElementsAre("flags"));
  EXPECT_EQ(diagnosis.check.findings[0].key, "terminals");
  EXPECT_EQ(diagnosis.check.findings[0].row, 7u);
}

// The script of a game.
datasets::Transitions Game(const std::string& name) {
  const std::unique_ptr<envs::Env> env = envs::MakeEnv(name);
  std::vector<WeightedPolicy> policies;
  policies.push_back({MakeScriptedPolicy(env->fully_observed().spec(), 0.2)});
  CollectOptions options;
  options.transitions = 600;
  return Collect(*env, policies, options);
}

TEST_F(DoctorTest, AGamesActionsAreOfItsSpace) {
  for (const char* name : {"popgym-autoencode-easy", "popgym-position-only-pendulum-hard",
                           "popgym-position-only-cart-pole-easy", "memory-rl-tmaze-20"}) {
    const Diagnosis diagnosis = Diagnose(Write(Game(name)));
    EXPECT_THAT(Codes(diagnosis.check.findings), IsEmpty()) << name;
    EXPECT_EQ(diagnosis.env, name);
  }
  datasets::Transitions wrong = Game("popgym-autoencode-easy");
  wrong.actions[17] = 4;
  Diagnosis diagnosis = Diagnose(Write(wrong));
  ASSERT_THAT(Codes(diagnosis.check.findings), ElementsAre("action_range"));
  EXPECT_EQ(diagnosis.check.findings[0].row, 17u);
  EXPECT_THAT(diagnosis.check.findings[0].detail,
              ::testing::HasSubstr("an integer from 0 to 3, found 4"));
}

TEST_F(DoctorTest, ActionsOfTheOtherKindAreRefused) {
  const auto expect = [&](const datasets::Transitions& t, const std::string& detail) {
    const Diagnosis diagnosis = Diagnose(Write(t));
    ASSERT_THAT(Codes(diagnosis.check.findings), ElementsAre("file"));
    EXPECT_EQ(diagnosis.check.findings[0].key, "actions");
    EXPECT_EQ(diagnosis.check.findings[0].detail, detail);
  };
  datasets::Transitions t = Game("popgym-autoencode-easy");
  t.discrete_actions = 0;  // written as floats
  expect(t, "expected Discrete(4) of popgym-autoencode-easy, found 1 continuous values");
  t.discrete_actions = 5;
  expect(t, "expected Discrete(4) of popgym-autoencode-easy, found Discrete(5)");
  t = Game("popgym-position-only-pendulum-hard");
  t.discrete_actions = 2;
  expect(t,
         "expected 1 continuous values of popgym-position-only-pendulum-hard, found Discrete(2)");
}

TEST_F(DoctorTest, ANameOfD4rlsWantsD4rlsBytes) {
  const Diagnosis diagnosis =
      Diagnose(Write(Hopper(Physics::kD4rl, "d4rl"), "", "hopper_random-v2.hdf5"));
  ASSERT_THAT(Codes(diagnosis.check.findings), ElementsAre("hash"));
  EXPECT_THAT(diagnosis.check.findings[0].detail,
              ::testing::StartsWith("expected 152525345 bytes of D4RL's hopper_random-v2, found "));
}

TEST_F(DoctorTest, RefusesOptionsThatAreNotValid) {
  const std::string path = Write(Hopper(Physics::kD4rl, "d4rl"));
  EXPECT_THROW(Diagnose(path, {.env = "ant"}), std::invalid_argument);
  EXPECT_THROW(Diagnose(path, {.rollout = {.episodes = 0}}), std::invalid_argument);
  // another body's name does not fit the file, which is the file's fault
  EXPECT_THAT(Codes(Diagnose(path, {.env = "walker2d"}).check.findings), ElementsAre("file"));
}

}  // namespace
}  // namespace cosdt::agents
