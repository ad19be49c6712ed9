#include "envs/body_tasks.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

#include "envs/hopper.h"
#include "envs/registry.h"

namespace cosdt::envs {
namespace {

std::vector<double> Observation(const Env& env) {
  std::vector<double> observation(env.spec().observation_size);
  env.Observe(observation);
  return observation;
}

std::vector<double> Action(const Env& env, Rng& rng) {
  std::uniform_real_distribution<double> uniform(-1, 1);
  std::vector<double> action(env.spec().action_size);
  for (double& a : action) a = uniform(rng);
  return action;
}

// Steps the task and its body side by side for `steps` steps, and calls check(task's step, body's
// step) after each. Episodes restart when they end: then, and at the beginning, it calls
// begin().
template <typename Begin, typename Check>
void PlayBoth(Env& task, Env& body, int steps, const Begin& begin, const Check& check) {
  Rng rng = MakeRng(7, 0);
  uint64_t seed = 0;
  bool ended = true;
  for (int t = 0; t < steps; ++t) {
    if (ended) {
      task.Reset(seed);
      body.Reset(seed++);
      begin();
    }
    const std::vector<double> action = Action(body, rng);
    const StepResult shown = task.Step(action), real = body.Step(action);
    ASSERT_EQ(shown.terminated, real.terminated);
    ASSERT_EQ(shown.truncated, real.truncated);
    check(shown, real);
    ended = real.terminated || real.truncated;
  }
}

TEST(BodyTasksTest, PositionAndVelocityAreThePartsOfTheBodysObservation) {
  for (const std::string& name : BodyNames()) {
    for (const Physics physics : kAllPhysics) {
      for (const bool position : {true, false}) {
        const auto body = MakeEnv(name, physics);
        const auto task = MakeEnv(name + (position ? "-position" : "-velocity"), physics);
        const auto& simulated = dynamic_cast<const MujocoEnv&>(*body);
        const auto compare = [&] {
          const std::vector<double> all = Observation(*body), seen = Observation(*task);
          const std::span<const double> state = position ? simulated.qpos() : simulated.qvel();
          // of the positions all but x
          ASSERT_EQ(seen.size(), state.size() - position);
          const std::span part =
              position ? std::span(all).first(seen.size()) : std::span(all).last(seen.size());
          EXPECT_TRUE(std::ranges::equal(seen, part)) << name;
          if (position) {
            EXPECT_TRUE(std::ranges::equal(seen, state.subspan(1))) << name;
          }
        };
        PlayBoth(*task, *body, 60, compare, [&](const StepResult& shown, const StepResult& real) {
          EXPECT_EQ(shown.reward, real.reward);
          compare();
        });
      }
    }
  }
}

TEST(BodyTasksTest, KeepTheBodysScoresStepsAndActions) {
  for (const std::string& name : BodyNames()) {
    const EnvSpec body = MakeEnv(name)->spec();
    for (const char* task : {"-position", "-velocity", "-delayed", "-dropped-25"}) {
      const auto env = MakeEnv(name + task);
      EXPECT_EQ(env->spec().name, name + task);
      EXPECT_EQ(env->spec().score_range->max, body.score_range->max);
      EXPECT_EQ(env->spec().score_range->min, body.score_range->min);
      EXPECT_EQ(env->spec().horizon, body.horizon);
      EXPECT_EQ(env->spec().step_seconds, body.step_seconds);
      EXPECT_EQ(env->spec().action_size, body.action_size);
      EXPECT_FALSE(env->spec().success_return);
      EXPECT_EQ(env->fully_observed().spec().name, name);
      EXPECT_NE(dynamic_cast<const MujocoEnv*>(&env->fully_observed()), nullptr);
    }
  }
}

TEST(BodyTasksTest, DroppedObservationsAreZerosWithAFlagAndTheOthersTheBodys) {
  Hopper body(Physics::kD4rl);
  DroppedObservations task("hopper-dropped-40", body, 40);
  int dropped = 0;
  constexpr int kSteps = 4000;
  const auto compare = [&] {
    std::vector<double> expected = Observation(body);
    const std::vector<double> seen = Observation(task);
    ASSERT_EQ(seen.size(), 12u);
    if (seen.back() == 1) std::ranges::fill(expected, 0.0);
    expected.push_back(seen.back());
    ASSERT_EQ(seen, expected);
    ASSERT_EQ(Observation(task.fully_observed()), Observation(body));
  };
  const auto begin = [&] {
    compare();
    ASSERT_EQ(Observation(task).back(), 0) << "the first observation is always shown";
  };
  PlayBoth(task, body, kSteps, begin, [&](const StepResult& shown, const StepResult& real) {
    compare();
    ASSERT_EQ(shown.reward, real.reward);
    dropped += Observation(task).back() == 1;
  });
  // 5 standard deviations
  EXPECT_NEAR(dropped, 0.4 * kSteps, 5 * std::sqrt(kSteps * 0.4 * 0.6));
}

TEST(BodyTasksTest, WhatIsDroppedFollowsTheSeedAloneAndGoesOnInAClone) {
  const auto flags = [](Env& env, int steps) {
    Rng rng = MakeRng(0, 0);
    std::vector<double> list;
    for (int t = 0; t < steps; ++t) {
      env.Step(Action(env, rng));
      list.push_back(Observation(env).back());
    }
    return list;
  };
  const auto env = MakeEnv("halfcheetah-dropped-50");
  env->Reset(4);
  const std::vector<double> first = flags(*env, 60);
  env->Reset(5);
  EXPECT_NE(flags(*env, 60), first);
  env->Reset(4);
  EXPECT_EQ(flags(*env, 60), first);
  const auto clone = env->Clone();
  EXPECT_EQ(flags(*env, 60), flags(*clone, 60));
}

TEST(BodyTasksTest, DelayedRewardIsTheSumAtTheEndWhateverTheEnd) {
  // hopper terminates, half cheetah is truncated
  for (const char* name : {"hopper", "halfcheetah"}) {
    const auto body = MakeEnv(name), task = MakeEnv(std::string(name) + "-delayed");
    double sum = 0;
    int ends = 0;
    const auto compare = [&] { EXPECT_EQ(Observation(*task), Observation(*body)); };
    PlayBoth(*task, *body, 2100, compare, [&](const StepResult& shown, const StepResult& real) {
      compare();
      sum += real.reward;
      if (!real.terminated && !real.truncated) {
        ASSERT_EQ(shown.reward, 0);
        return;
      }
      ASSERT_DOUBLE_EQ(shown.reward, sum);
      sum = 0;
      ++ends;
    });
    EXPECT_GE(ends, 2) << name;
  }
}

TEST(BodyTasksTest, DivergenceIsTheBodys) {
  Hopper body(Physics::kD4rl);
  std::vector<double> qvel(6);
  qvel[3] = 1e11;  // beyond what MuJoCo takes for a good state
  body.SetState(std::vector<double>{0, 1.25, 0, 0, 0, 0}, qvel);
  PartialObservation task("hopper-position", body, 0, 5);
  EXPECT_TRUE(task.Step(std::vector<double>(3)).terminated);
  EXPECT_TRUE(task.diverged());
  EXPECT_THROW(task.Step(std::vector<double>(3)), std::logic_error);
  task.Reset(0);
  EXPECT_FALSE(task.diverged());
}

TEST(BodyTasksTest, RefuseObservationsOfTheWrongSize) {
  const auto env = MakeEnv("hopper-position");
  std::vector<double> full(11);
  EXPECT_THROW(env->Observe(full), std::invalid_argument);
}

}  // namespace
}  // namespace cosdt::envs
