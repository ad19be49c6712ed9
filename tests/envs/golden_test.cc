// The gymnasium modes against gymnasium itself: one step from equal states under equal actions.
#include <gtest/gtest.h>
#include <mujoco/mujoco.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <memory>
#include <vector>

#include "envs/mujoco_env.h"
#include "envs/registry.h"

namespace cosdt::envs {
namespace {

struct Outcome {
  std::vector<double> observation;
  double reward;
  bool terminated;
};

struct Transition {
  std::vector<double> qpos, qvel, action;
  Outcome v4, v5;
};

// Reads the files that make_gymnasium_golden.py documents.
class GoldenFile {
 public:
  explicit GoldenFile(const std::string& name)
      : stream_(COSDT_SOURCE_DIR "/tests/envs/" + name, std::ios::binary) {
    EXPECT_TRUE(stream_) << name;
    for (int* size : {&count_, &nq_, &nv_, &nu_, &observation_size_}) *size = Read<int>();
  }

  std::vector<Transition> Transitions() {
    std::vector<Transition> all(count_);
    for (Transition& t : all) {
      t.qpos = ReadArray<float>(nq_);
      t.qvel = ReadArray<float>(nv_);
      t.action = ReadArray<float>(nu_);
      for (Outcome* o : {&t.v4, &t.v5}) {
        o->observation = ReadArray<double>(observation_size_);
        o->reward = Read<double>();
        o->terminated = Read<uint8_t>();
      }
    }
    EXPECT_TRUE(stream_);
    return all;
  }

 private:
  template <typename T>
  T Read() {
    T value{};
    stream_.read(reinterpret_cast<char*>(&value), sizeof value);
    return value;
  }
  template <typename T>
  std::vector<double> ReadArray(int n) {
    std::vector<double> values(n);
    for (double& x : values) x = Read<T>();
    return values;
  }

  std::ifstream stream_;
  int count_, nq_, nv_, nu_, observation_size_;
};

struct Case {
  const char* env;
  const char* file;
  Physics physics;
};

void PrintTo(const Case& c, std::ostream* out) { *out << PhysicsName(c.physics); }

class GymnasiumGoldenTest : public ::testing::TestWithParam<Case> {};

TEST_P(GymnasiumGoldenTest, OneStepAgreesFromEqualStates) {
  if (MujocoVersion() != "3.3.5") GTEST_SKIP() << "the values are those of MuJoCo 3.3.5";
  const auto owner = MakeEnv(GetParam().env, GetParam().physics);
  auto& env = dynamic_cast<MujocoEnv&>(*owner);
  std::vector<double> observation(env.spec().observation_size);
  int terminations = 0, contacts = 0, agreed = 0;
  for (const Transition& t : GoldenFile(GetParam().file).Transitions()) {
    const Outcome& expected = GetParam().physics == Physics::kGymnasiumV4 ? t.v4 : t.v5;
    env.SetState(t.qpos, t.qvel);
    const StepResult step = env.Step(t.action);
    env.Observe(observation);
    ASSERT_EQ(observation.size(), expected.observation.size());
    for (size_t i = 0; i < observation.size(); ++i) {
      ASSERT_NEAR(observation[i], expected.observation[i], 1e-10)
          << "observation " << i << " of " << agreed;
    }
    ASSERT_NEAR(step.reward, expected.reward, 1e-10) << agreed;
    ASSERT_EQ(step.terminated, expected.terminated) << agreed;
    terminations += step.terminated;
    contacts += env.data()->ncon > 0;
    ++agreed;
  }
  EXPECT_GE(agreed, 1000);
  EXPECT_GE(contacts, 600);
  if (env.spec().name != "halfcheetah") {
    EXPECT_GT(terminations, 100);
  }
}

// D4RL's body moves otherwise, by the known amount: the comparison above can tell bodies apart.
TEST(D4rlBodyTest, DiffersFromGymnasiumsByTheKnownAmount) {
  const auto owner = MakeEnv("hopper", Physics::kD4rl);
  auto& env = dynamic_cast<MujocoEnv&>(*owner);
  std::vector<double> observation(env.spec().observation_size), differences;
  for (const Transition& t : GoldenFile("gymnasium_hopper.bin").Transitions()) {
    env.SetState(t.qpos, t.qvel);
    env.Step(t.action);
    env.Observe(observation);
    double largest = 0;
    for (size_t i = 0; i < observation.size(); ++i) {
      largest = std::max(largest, std::abs(observation[i] - t.v4.observation[i]));
    }
    differences.push_back(largest);
  }
  const auto median = differences.begin() + differences.size() / 2;
  std::nth_element(differences.begin(), median, differences.end());
  EXPECT_GT(*median, 3e-3);
  EXPECT_LT(*median, 3e-1);
}

INSTANTIATE_TEST_SUITE_P(
    Bodies, GymnasiumGoldenTest,
    ::testing::Values(Case{"hopper", "gymnasium_hopper.bin", Physics::kGymnasiumV4},
                      Case{"hopper", "gymnasium_hopper.bin", Physics::kGymnasiumV5},
                      Case{"halfcheetah", "gymnasium_half_cheetah.bin", Physics::kGymnasiumV4},
                      Case{"halfcheetah", "gymnasium_half_cheetah.bin", Physics::kGymnasiumV5},
                      Case{"walker2d", "gymnasium_walker2d.bin", Physics::kGymnasiumV4},
                      Case{"walker2d", "gymnasium_walker2d.bin", Physics::kGymnasiumV5}),
    [](const auto& test) {
      return std::string(test.param.env) +
             (test.param.physics == Physics::kGymnasiumV4 ? "V4" : "V5");
    });

}  // namespace
}  // namespace cosdt::envs
