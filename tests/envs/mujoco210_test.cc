// d4rl mode against MuJoCo 2.1.0 itself, the last release before capsules' inertias became exact:
// one environment step from equal states under equal actions. make_mujoco210_golden.py made and
// documents the values.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <string>
#include <vector>

#include "envs/mujoco_env.h"
#include "envs/registry.h"

namespace cosdt::envs {
namespace {

struct GoldenStep {
  std::vector<double> qpos, qvel, action, next_qpos, next_qvel;
};

template <typename T>
std::vector<double> Read(std::istream& stream, int count) {
  std::vector<double> numbers(count);
  for (double& x : numbers) {
    T value{};
    stream.read(reinterpret_cast<char*>(&value), sizeof value);
    x = static_cast<double>(value);
  }
  return numbers;
}

std::vector<GoldenStep> ReadSteps(const std::string& body) {
  std::ifstream stream(COSDT_SOURCE_DIR "/tests/envs/mujoco210_" + body + ".bin", std::ios::binary);
  const std::vector<double> sizes = Read<int32_t>(stream, 4);
  const int nq = static_cast<int>(sizes[1]), nv = static_cast<int>(sizes[2]);
  std::vector<GoldenStep> steps(static_cast<size_t>(sizes[0]));
  for (GoldenStep& step : steps) {
    step.qpos = Read<float>(stream, nq);
    step.qvel = Read<float>(stream, nv);
    step.action = Read<float>(stream, static_cast<int>(sizes[3]));
    step.next_qpos = Read<double>(stream, nq);
    step.next_qvel = Read<double>(stream, nv);
  }
  EXPECT_TRUE(stream) << body;
  return steps;
}

double LargestDifference(std::span<const double> a, std::span<const double> b) {
  double largest = 0;
  for (size_t i = 0; i < a.size(); ++i) largest = std::max(largest, std::abs(a[i] - b[i]));
  return largest;
}

// For each golden step: how far the state after our step is from MuJoCo 2.1.0's.
std::vector<double> Differences(const std::string& env, Physics physics,
                                const std::vector<GoldenStep>& steps) {
  const auto owner = MakeEnv(env, physics);
  auto& body = dynamic_cast<MujocoEnv&>(*owner);
  std::vector<double> differences;
  for (const GoldenStep& step : steps) {
    body.SetState(step.qpos, step.qvel);
    body.Step(step.action);
    differences.push_back(std::max(LargestDifference(body.qpos(), step.next_qpos),
                                   LargestDifference(body.qvel(), step.next_qvel)));
  }
  return differences;
}

double Median(std::vector<double> x) {
  const auto middle = x.begin() + static_cast<ptrdiff_t>(x.size() / 2);
  std::ranges::nth_element(x, middle);
  return *middle;
}

struct Case {
  std::string env, file;
  double gymnasium;  // how far its bodies are off: the median of the steps
};

class Mujoco210Test : public ::testing::TestWithParam<Case> {};

TEST_P(Mujoco210Test, D4rlModeTakesTheSameSteps) {
  if (MujocoVersion() != "3.3.5") GTEST_SKIP() << "the tolerance is that of MuJoCo 3.3.5";
  const std::vector<GoldenStep> steps = ReadSteps(GetParam().file);
  ASSERT_EQ(steps.size(), 600u);
  const std::vector<double> differences = Differences(GetParam().env, Physics::kD4rl, steps);
  const auto largest = std::ranges::max_element(differences);
  EXPECT_LE(*largest, 1e-10) << "step " << largest - differences.begin();
  RecordProperty("largest", std::to_string(*largest * 1e12) + "e-12");
}

TEST_P(Mujoco210Test, GymnasiumsBodiesAreFarOff) {
  const std::vector<GoldenStep> steps = ReadSteps(GetParam().file);
  for (const Physics physics : {Physics::kGymnasiumV4, Physics::kGymnasiumV5}) {
    const std::vector<double> differences = Differences(GetParam().env, physics, steps);
    const double median = Median(differences);
    EXPECT_GT(median, GetParam().gymnasium / 1.5) << PhysicsName(physics);
    EXPECT_LT(median, GetParam().gymnasium * 1.5) << PhysicsName(physics);
    EXPECT_GT(std::ranges::min(differences), 1e-5) << PhysicsName(physics);
  }
}

INSTANTIATE_TEST_SUITE_P(Bodies, Mujoco210Test,
                         ::testing::Values(Case{"hopper", "hopper", 0.01},
                                           Case{"halfcheetah", "half_cheetah", 0.13},
                                           Case{"walker2d", "walker2d", 0.46}),
                         [](const auto& test) { return test.param.env; });

}  // namespace
}  // namespace cosdt::envs
