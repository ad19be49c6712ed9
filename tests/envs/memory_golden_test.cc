// POPGym's tasks and the two T-mazes that are walked against popgym's, RATE's and Memory-RL's own
// code.
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "envs/autoencode.h"
#include "envs/count_recall.h"
#include "envs/higher_lower.h"
#include "envs/position_only_cart_pole.h"
#include "envs/position_only_pendulum.h"
#include "envs/registry.h"
#include "envs/repeat_first.h"
#include "envs/repeat_previous.h"
#include "envs/walked_tmaze.h"

namespace cosdt::envs {
namespace {

struct Step {
  std::vector<double> state;
  double action, reward;
  bool terminated, truncated;
  std::vector<double> observation;
};

struct Episode {
  std::string name;
  std::vector<double> start, observation;
  std::vector<Step> steps;
};

// Reads the file that make_memory_golden.py documents.
std::vector<Episode> ReadGolden() {
  std::ifstream stream(COSDT_SOURCE_DIR "/tests/envs/memory_tasks.bin", std::ios::binary);
  const auto read = [&]<typename T>(T value) {
    stream.read(reinterpret_cast<char*>(&value), sizeof value);
    return value;
  };
  const auto array = [&]<typename T>(T, int n) {
    std::vector<double> values(n);
    for (double& x : values) x = read(T());
    return values;
  };
  std::vector<Episode> episodes;
  while (stream.peek() != EOF) {
    Episode& episode = episodes.emplace_back();
    episode.name.resize(read(int32_t()));
    stream.read(episode.name.data(), static_cast<std::streamsize>(episode.name.size()));
    const int steps = read(int32_t()), start = read(int32_t()), state = read(int32_t()),
              observation = read(int32_t());
    episode.start = array(double(), start);
    episode.observation = array(float(), observation);
    for (int i = 0; i < steps; ++i) {
      Step& step = episode.steps.emplace_back();
      step.state = array(double(), state);
      step.action = read(float());
      step.reward = read(double());
      step.terminated = read(uint8_t());
      step.truncated = read(uint8_t());
      step.observation = array(float(), observation);
    }
  }
  EXPECT_FALSE(stream.bad());
  return episodes;
}

template <typename Task>
std::unique_ptr<ScriptedTask> MakeLevel(const std::string& name) {
  for (const Level level : {Level::kEasy, Level::kMedium, Level::kHard}) {
    if (name == LevelName(Task::kName, level)) return std::make_unique<Task>(level);
  }
  return nullptr;
}

// The task in full.
std::unique_ptr<ScriptedTask> MakeFull(const std::string& name) {
  const int number = ParseEnvName(name).number;
  if (name.starts_with("rate-")) return std::make_unique<RateTMaze>(name, number, false, false);
  if (name.starts_with("memory-")) return std::make_unique<MemoryRlTMaze>(name, number);
  for (const auto make : {MakeLevel<RepeatFirst>, MakeLevel<RepeatPrevious>, MakeLevel<Autoencode>,
                          MakeLevel<CountRecall>, MakeLevel<HigherLower>,
                          MakeLevel<PositionOnlyCartPole>, MakeLevel<PositionOnlyPendulum>}) {
    if (auto task = make(name)) return task;
  }
  return nullptr;
}

std::vector<double> Shown(const ScriptedTask& task) {
  std::vector<double> observation(task.spec().observation_size);
  task.Observe(observation);
  observation.resize(task.shown());
  return observation;
}

// Starts the golden episode.
void Begin(const Episode& episode, ScriptedTask& task) {
  if (auto* const game = dynamic_cast<CardGame*>(&task)) {
    game->ResetTo(std::vector<int>(episode.start.begin(), episode.start.end()));
  } else if (dynamic_cast<WalkedTMaze*>(&task)) {
    for (uint64_t seed = 0; Shown(task)[1] != episode.start[0]; ++seed) task.Reset(seed);
  } else {
    task.Reset(0);
  }
}

void SetState(const std::vector<double>& state, ScriptedTask& task) {
  if (auto* const cart_pole = dynamic_cast<PositionOnlyCartPole*>(&task)) {
    cart_pole->SetState(std::span<const double, 4>(state));
  } else if (auto* const pendulum = dynamic_cast<PositionOnlyPendulum*>(&task)) {
    pendulum->SetState(std::span<const double, 2>(state));
  }
}

void ExpectShown(const std::vector<double>& expected, const ScriptedTask& task) {
  const std::vector<double> shown = Shown(task);
  ASSERT_EQ(shown.size(), expected.size());
  // expected values are float32
  for (size_t i = 0; i < shown.size(); ++i) ASSERT_NEAR(shown[i], expected[i], 2e-7);
}

TEST(MemoryGoldenTest, EveryStepIsThatOfTheProjectsTheTasksComeFrom) {
  std::set<std::string> names;
  std::map<std::string, int> ends;
  for (const Episode& episode : ReadGolden()) {
    SCOPED_TRACE(episode.name);
    names.insert(episode.name);
    const std::unique_ptr<ScriptedTask> task = MakeFull(episode.name);
    ASSERT_TRUE(task);
    EXPECT_EQ(MakeEnv(episode.name)->spec().observation_size, episode.observation.size());
    Begin(episode, *task);
    if (!episode.start.empty()) ExpectShown(episode.observation, *task);
    for (size_t t = 0; t < episode.steps.size(); ++t) {
      SCOPED_TRACE(t);
      const Step& expected = episode.steps[t];
      if (!expected.state.empty()) SetState(expected.state, *task);
      const StepResult step = task->Step(std::vector<double>{expected.action});
      ASSERT_NEAR(step.reward, expected.reward, 1e-12);
      ASSERT_EQ(step.terminated, expected.terminated);
      ASSERT_EQ(step.truncated, expected.truncated);
      ExpectShown(expected.observation, *task);
    }
    const Step& last = episode.steps.back();
    ASSERT_TRUE(last.terminated || last.truncated);
    ends["terminated"] += last.terminated;
    ends["truncated"] += last.truncated;
    ends["to the right"] += std::abs(last.observation[0]) > 2.4;
  }
  for (const std::string& game : GameNames()) EXPECT_TRUE(names.contains(game)) << game;
  EXPECT_GT(ends["terminated"], 40);
  EXPECT_GE(ends["truncated"], 9);
  EXPECT_GE(ends["to the right"], 1);
}

}  // namespace
}  // namespace cosdt::envs
