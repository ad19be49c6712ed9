#include "agents/training/critic_trainer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "agents/training/training_run.h"
#include "datasets/file_error.h"
#include "tests/agents/training/small_training.h"
#include "tests/read_bytes.h"

namespace cosdt::agents {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

AgentOptions SmallCritic(const std::string& kind) {
  AgentOptions options;
  options.kind = kind;
  ForEachKind(options, [](auto& own) { own.width = 16; });
  options.SetSizes(3, 2);
  return options;
}

class CriticTrainerTest : public testing::TestWithParam<const char*> {
 protected:
  CriticTrainerTest() {
    fs::remove_all(root_);
    options_.agent = SmallCritic(GetParam());
    options_.trainer = {.batch_size = 32, .learning_rate = 1e-3};
    options_.updates = 23;
    options_.save_every = 10;
    info_.normalizer = datasets::MakeNormalizer(episodes_);
    info_.dataset_sha256 = "12ab";
  }
  ~CriticTrainerTest() override { fs::remove_all(root_); }

  TrainingRun Make(const std::string& name, bool resume) const {
    return {options_, episodes_, info_, root_ + "/" + name, resume};
  }

  std::string root_ = testing::TempDir() + "critic_trainer_" + std::to_string(getpid());
  datasets::Episodes episodes_ = MakeEpisodes();
  TrainingRunOptions options_;
  CheckpointInfo info_;
};

INSTANTIATE_TEST_SUITE_P(Agents, CriticTrainerTest, testing::Values("td3bc", "rebrac", "iql"),
                         [](const auto& test) { return test.param; });

TEST_P(CriticTrainerTest, AStoppedAndResumedRunEndsAsAnUndisturbedOne) {
  TrainingRunObserver nobody;
  Make("whole", false).Train(nobody);
  for (const int64_t end : {7, 10, 23}) {  // within and at a pair of TD3's updates
    TrainingRun run = Make("parts", true);
    run.Train(nobody, [&] { return run.updates() >= end; });
  }
  for (const char* file : {"/last.safetensors", "/resume.safetensors"}) {
    EXPECT_EQ(ReadBytes(root_ + "/parts" + file), ReadBytes(root_ + "/whole" + file)) << file;
  }
  const Checkpoint last = ReadCheckpoint(root_ + "/whole/last.safetensors");
  EXPECT_EQ(last.agent->options().name(), options_.agent.name());
  EXPECT_EQ(last.info.updates, 23);
}

// The data's actions are a function of the observation, and all are equally good.
TEST_P(CriticTrainerTest, LearnsTheActionsOfItsData) {
  options_.agent.rebrac.actor_bc_coef = 10;
  options_.agent.td3bc.alpha = 0.1;
  options_.agent.iql.deterministic = true;
  const auto error = [&](Agent& agent) {
    Batch batch{};
    batch.observations = torch::tensor(std::vector<float>(episodes_.observations.begin(),
                                                          episodes_.observations.end()))
                             .view({-1, 3});
    const torch::Tensor actions =
        torch::tensor(std::vector<float>(episodes_.actions.begin(), episodes_.actions.end()));
    return (agent.Predict(batch) - actions.view({-1, 2})).square().mean().item<double>();
  };
  torch::manual_seed(1);
  CriticTrainer trainer(MakeAgent(options_.agent), episodes_, {{0, 0, 0}, {1, 1, 1}},
                        options_.trainer);
  const double before = error(trainer.agent());
  const std::vector<UpdateResult> results = trainer.Update(600);
  EXPECT_LT(error(trainer.agent()), before / 5);
  EXPECT_GT(results.back().q.value(), results.front().q.value());  // every reward is 1
}

TEST_P(CriticTrainerTest, ADivergingCriticStopsAtTheLastGoodState) {
  options_.trainer.learning_rate = 1e6;
  TrainingRunObserver nobody;
  TrainingRun run = Make("run", false);
  try {
    run.Train(nobody);
    FAIL() << "expected an error";
  } catch (const NotFiniteError& e) {
    EXPECT_THAT(e.what(), HasSubstr("training: update 2: expected a mean absolute Q of at most "
                                    "10000, found "));
  }
  EXPECT_EQ(run.updates(), 1);
  EXPECT_EQ(ReadCheckpoint(run.checkpoint()).info.updates, 1);
}

TEST_P(CriticTrainerTest, AStateOfAnotherAgentIsRefused) {
  CriticTrainer trainer(MakeAgent(options_.agent), episodes_, info_.normalizer, options_.trainer);
  fs::create_directories(root_);
  trainer.Save(root_ + "/state");
  AgentOptions other = SmallCritic(options_.agent.kind == "iql" ? "td3bc" : "iql");
  CriticTrainer another(MakeAgent(other), episodes_, info_.normalizer, options_.trainer);
  EXPECT_THROW(another.Restore(root_ + "/state"), datasets::FileError);
}

}  // namespace
}  // namespace cosdt::agents
