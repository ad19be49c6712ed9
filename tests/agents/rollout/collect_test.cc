#include "agents/rollout/collect.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <stdexcept>

#include "agents/policies/demo_policies.h"
#include "agents/policies/gaussian_policy.h"
#include "datasets/check.h"
#include "datasets/episodes.h"
#include "envs/half_cheetah.h"
#include "envs/hopper.h"
#include "envs/registry.h"
#include "tests/threads.h"

namespace cosdt::agents {
namespace {

std::vector<WeightedPolicy> Random(const envs::Env& env) {
  std::vector<WeightedPolicy> policies;
  policies.push_back({MakeRandomPolicy(env.spec()), 1});
  return policies;
}

datasets::Transitions CollectHopper(int64_t transitions, int threads, uint64_t seed = 0) {
  const envs::Hopper hopper(envs::Physics::kD4rl);
  CollectOptions options;
  options.transitions = transitions;
  options.threads = threads;
  options.seed = seed;
  return Collect(hopper, Random(hopper), options);
}

TEST(CollectTest, DoesNotDependOnThreads) {
  const datasets::Transitions one = CollectHopper(3000, 1), three = CollectHopper(3000, 3);
  EXPECT_EQ(one.observations, three.observations);
  EXPECT_EQ(one.actions, three.actions);
  EXPECT_EQ(one.rewards, three.rewards);
  EXPECT_EQ(one.next_observations, three.next_observations);
  EXPECT_EQ(one.log_probs, three.log_probs);
  EXPECT_EQ(one.qpos, three.qpos);
  EXPECT_EQ(one.qvel, three.qvel);
  EXPECT_EQ(one.terminals, three.terminals);
  EXPECT_NE(one.observations, CollectHopper(3000, 1, 1).observations);
}

TEST(CollectTest, LibTorchBringsNoThreadsOfItsOwn) {
  const envs::Hopper hopper(envs::Physics::kD4rl);
  std::vector<WeightedPolicy> policies;
  policies.push_back({LoadGaussianPolicy(*OpenDemoPolicy("demo/hopper-medium"), hopper.spec(),
                                         /*deterministic=*/false),
                      1});
  CollectOptions options;
  options.transitions = 2000;
  EXPECT_EQ(ThreadsBegun(2, [&] { Collect(hopper, policies, options); }), 0u);
}

TEST(CollectTest, GivesExactlyWhatIsAskedForAndMoreOfTheSame) {
  const datasets::Transitions few = CollectHopper(100, 1), many = CollectHopper(1000, 1);
  ASSERT_EQ(few.rows(), 100u);
  ASSERT_EQ(many.rows(), 1000u);
  EXPECT_EQ(few.observations.size(), 1100u);
  EXPECT_EQ(few.qpos.size(), 600u);
  // the first rows are the same, but for the last episode's end
  EXPECT_TRUE(
      std::equal(few.observations.begin(), few.observations.end(), many.observations.begin()));
}

TEST(CollectTest, WritesWhatTheDoctorFindsFit) {
  const datasets::Transitions t = CollectHopper(5000, 2);
  EXPECT_TRUE(datasets::CheckTransitions("x.hdf5", t,
                                         datasets::CutEpisodes(t.terminals, t.timeouts, 1000),
                                         {.body = datasets::FindBody("hopper")})
                  .findings.empty());
  EXPECT_EQ(t.physics, "d4rl");
  EXPECT_EQ(t.mujoco_version, envs::MujocoVersion());
  // observations are of the state before the step
  for (size_t row = 0; row < t.rows(); ++row) {
    for (size_t i = 0; i < 5; ++i) {
      ASSERT_EQ(t.observations[row * 11 + i], static_cast<float>(t.qpos[row * 6 + 1 + i]));
    }
    ASSERT_NEAR(t.log_probs[row], -3 * std::log(2), 1e-6);
  }
}

TEST(CollectTest, EndsEpisodesAsD4rlsCollectorDoes) {
  const envs::HalfCheetah cheetah(envs::Physics::kD4rl);
  CollectOptions options;
  options.transitions = 2500;
  const datasets::Transitions t = Collect(cheetah, Random(cheetah), options);
  for (size_t row = 0; row < t.rows(); ++row) {
    ASSERT_EQ(t.terminals[row], 0);
    ASSERT_EQ(t.timeouts[row], row == 999 || row == 1999);
  }
  const datasets::Transitions hopper = CollectHopper(2000, 1);
  EXPECT_GT(std::ranges::count(hopper.terminals, 1), 50);
  EXPECT_EQ(std::ranges::count(hopper.timeouts, 1), 0);
}

// Acts with one constant, so that a row shows whose it is.
class ConstantPolicy : public Policy {
 public:
  explicit ConstantPolicy(float action) : action_(action) {}
  void Act(std::span<const float>, std::span<envs::Rng* const>, std::span<float> actions,
           std::span<float> log_probs) override {
    std::ranges::fill(actions, action_);
    std::ranges::fill(log_probs, action_);
  }

 private:
  float action_;
};

TEST(CollectTest, MixesPoliciesByWeightEpisodeByEpisode) {
  const envs::Hopper hopper(envs::Physics::kD4rl);
  std::vector<WeightedPolicy> policies;
  policies.push_back({std::make_unique<ConstantPolicy>(0.25f), 3});
  policies.push_back({std::make_unique<ConstantPolicy>(-0.5f), 1});
  policies.push_back({std::make_unique<ConstantPolicy>(1.0f), 0});
  CollectOptions options;
  options.transitions = 20000;
  const datasets::Transitions t = Collect(hopper, policies, options);
  int first = 0, second = 0;
  bool fresh = true;
  for (size_t row = 0; row < t.rows(); ++row) {
    const float action = t.actions[row * 3];
    ASSERT_EQ(t.log_probs[row], action);
    if (fresh) {
      first += action == 0.25f;
      second += action == -0.5f;
    } else {
      ASSERT_EQ(action, t.actions[row * 3 - 3]) << "a policy keeps its episode";
    }
    fresh = t.terminals[row] || t.timeouts[row];
  }
  EXPECT_NEAR(static_cast<double>(first) / (first + second), 0.75, 0.12);
}

datasets::Transitions CollectTask(const std::string& name, const std::string& policy,
                                  int64_t transitions, double epsilon = 0) {
  const auto env = envs::MakeEnv(name);
  std::vector<WeightedPolicy> policies;
  policies.push_back({MakePolicy(policy, env->fully_observed().spec(), false, epsilon)});
  CollectOptions options;
  options.transitions = transitions;
  return Collect(*env, policies, options);
}

TEST(CollectTest, ATasksDataIsTheBodysButForWhatItShows) {
  const datasets::Transitions body = CollectTask("hopper", "demo/hopper-medium", 1500),
                              position = CollectTask("hopper-position", "demo/hopper-medium", 1500),
                              delayed = CollectTask("hopper-delayed", "demo/hopper-medium", 1500);
  EXPECT_EQ(body.task, "");
  EXPECT_EQ(position.task, "hopper-position");
  EXPECT_EQ(position.observation_size, 5);
  for (const datasets::Transitions* task : {&position, &delayed}) {
    EXPECT_EQ(task->actions, body.actions);
    EXPECT_EQ(task->qpos, body.qpos);
    EXPECT_EQ(task->qvel, body.qvel);
    EXPECT_EQ(task->terminals, body.terminals);
    EXPECT_EQ(task->timeouts, body.timeouts);
  }
  EXPECT_EQ(position.rewards, body.rewards);
  EXPECT_EQ(delayed.observations, body.observations);
  double sum = 0;
  for (size_t row = 0; row < body.rows(); ++row) {
    for (size_t i = 0; i < 5; ++i) {
      ASSERT_EQ(position.observations[row * 5 + i], body.observations[row * 11 + i]);
      ASSERT_EQ(position.next_observations[row * 5 + i], body.next_observations[row * 11 + i]);
    }
    sum += body.rewards[row];
    const bool last = body.terminals[row] || body.timeouts[row];
    ASSERT_NEAR(delayed.rewards[row], last ? sum : 0, 1e-3);
    if (last) sum = 0;
  }
}

TEST(CollectTest, ATMazesActionsDoNotCarryTheSignThroughTheCorridor) {
  const datasets::Transitions t = CollectTask("tmaze-10", "scripted", 12 * 400);
  EXPECT_EQ(t.task, "tmaze-10");
  EXPECT_TRUE(t.qpos.empty());
  int right = 0;
  for (size_t row = 0; row < t.rows(); ++row) {
    const bool junction = row % 12 == 11;
    ASSERT_EQ(t.terminals[row], junction);
    ASSERT_EQ(t.timeouts[row], 0);
    ASSERT_EQ(std::abs(t.actions[row]), junction) << row;
    ASSERT_EQ(std::abs(t.observations[2 * row]), row % 12 == 0);
    if (!junction) continue;
    ASSERT_EQ(t.rewards[row], t.actions[row] == t.observations[2 * (row - 11)]);
    right += t.rewards[row] == 1;
  }
  EXPECT_NEAR(right, 300, 5 * std::sqrt(400 * 0.75 * 0.25));
}

TEST(CollectTest, AGamesActionsAreIntegersThatTheScriptOrChanceTook) {
  constexpr double kEpsilon = 0.4;
  const datasets::Transitions t =
      CollectTask("popgym-repeat-first-easy", "scripted", 51 * 200, kEpsilon);
  EXPECT_EQ(t.task, "popgym-repeat-first-easy");
  EXPECT_EQ(t.discrete_actions, 4);
  EXPECT_EQ(t.action_size, 1);
  EXPECT_EQ(t.observation_size, 4);
  int right = 0;
  for (size_t row = 0; row < t.rows(); ++row) {
    ASSERT_EQ(t.terminals[row], row % 51 == 50);
    ASSERT_TRUE(t.actions[row] == std::floor(t.actions[row]) && t.actions[row] >= 0 &&
                t.actions[row] < 4);
    const auto first = t.observations.begin() + static_cast<ptrdiff_t>(row - row % 51) * 4;
    const bool is_right = first[static_cast<ptrdiff_t>(t.actions[row])] == 1;
    ASSERT_FLOAT_EQ(t.rewards[row], (is_right ? 1.0f : -1.0f) / 51);
    ASSERT_NEAR(t.log_probs[row], std::log(is_right ? 1 - kEpsilon * 3 / 4 : kEpsilon / 4), 1e-6);
    right += is_right;
  }
  const double share = 1 - kEpsilon * 3 / 4, rows = static_cast<double>(t.rows());
  EXPECT_NEAR(right, rows * share, 5 * std::sqrt(rows * share * (1 - share)));
}

TEST(CollectTest, RatesTMazeHasWinnersOnlyUnlessActionsAreRandom) {
  const datasets::Transitions t = CollectTask("rate-tmaze-max-30", "scripted", 4000);
  size_t begin = 0, episodes = 0;
  for (size_t row = 0; row < t.rows(); ++row) {
    if (!t.terminals[row]) continue;
    ASSERT_EQ(t.rewards[row], 1);
    ASSERT_LE(row + 1 - begin, 29u);
    begin = row + 1;
    ++episodes;
  }
  EXPECT_GT(episodes, 100u);
  const datasets::Transitions random = CollectTask("rate-tmaze-max-30", "scripted", 4000, 0.5);
  EXPECT_LT(std::ranges::count(random.rewards, 1), 100);
}

TEST(CollectTest, RefusesWhatMakesNoSense) {
  const envs::Hopper hopper(envs::Physics::kD4rl);
  EXPECT_THROW(CollectHopper(0, 1), std::invalid_argument);
  EXPECT_THROW(CollectHopper(1, 0), std::invalid_argument);
  CollectOptions options;
  options.transitions = 1;
  EXPECT_THROW(Collect(hopper, {}, options), std::invalid_argument);
  std::vector<WeightedPolicy> negative;
  negative.push_back({MakeRandomPolicy(hopper.spec()), -1});
  EXPECT_THROW(Collect(hopper, negative, options), std::invalid_argument);
}

}  // namespace
}  // namespace cosdt::agents
