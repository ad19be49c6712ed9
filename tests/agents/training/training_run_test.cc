#include "agents/training/training_run.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <limits>

#include "tests/agents/training/small_training.h"
#include "tests/read_bytes.h"

namespace cosdt::agents {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;

// Records the calls it gets.
struct TrainingRecorder : TrainingRunObserver {
  std::vector<int64_t> updates, metrics, evaluations;
  std::vector<double> losses;      // of the metrics
  std::vector<int64_t> evaluated;  // updates that the evaluated agents had
  std::function<void()> at_evaluation = [] {};

  void OnUpdate(const UpdateResult& result) override { updates.push_back(result.update); }
  void OnMetrics(int64_t update, const std::map<std::string, double>& values) override {
    metrics.push_back(update);
    losses.push_back(values.at("loss"));
  }
  bool NeedsEvaluation(int64_t update) override {
    return std::ranges::find(evaluations, update) == evaluations.end();
  }
  void Evaluate(int64_t update, const std::string& checkpoint) override {
    at_evaluation();
    evaluations.push_back(update);
    evaluated.push_back(ReadCheckpoint(checkpoint).info.updates);
  }
};

class TrainingRunTest : public testing::Test {
 protected:
  TrainingRunTest() {
    fs::remove_all(root_);
    options_.agent = SmallAgent("dt");
    options_.trainer = FastTraining();
    options_.updates = 130;
    options_.save_every = 50;
    info_.normalizer = datasets::MakeNormalizer(episodes_);
    info_.dataset = "data.hdf5";
    info_.dataset_sha256 = "12ab";
  }
  ~TrainingRunTest() override { fs::remove_all(root_); }

  TrainingRun Make(const std::string& name, bool resume) const {
    return {options_, episodes_, info_, Folder(name), resume};
  }
  std::string Folder(const std::string& name) const { return root_ + "/" + name; }

  std::string Message(const std::string& name, bool resume) const {
    try {
      Make(name, resume);
    } catch (const std::exception& e) {
      return e.what();
    }
    return "nothing was thrown";
  }

  std::string root_ = testing::TempDir() + "training_run_" + std::to_string(getpid());
  datasets::Episodes episodes_ = MakeEpisodes();
  TrainingRunOptions options_;
  CheckpointInfo info_;
};

TEST_F(TrainingRunTest, AStoppedAndResumedRunEndsAsAnUndisturbedOne) {
  TrainingRecorder whole, parts;
  Make("whole", false).Train(whole);
  EXPECT_EQ(whole.updates.size(), 130u);
  EXPECT_THAT(whole.metrics, ElementsAre(100, 130));
  for (const size_t end : {13, 110, 1000}) {
    TrainingRun run = Make("parts", true);
    run.Train(parts, [&] { return parts.updates.size() >= end; });
    EXPECT_EQ(run.updates(), static_cast<int64_t>(std::min<size_t>(end, 130)));
  }
  EXPECT_EQ(parts.updates, whole.updates);
  EXPECT_EQ(parts.metrics, whole.metrics);
  EXPECT_EQ(parts.losses, whole.losses);
  for (const char* file : {"/last.safetensors", "/resume.safetensors"}) {
    EXPECT_EQ(ReadBytes(Folder("parts") + file), ReadBytes(Folder("whole") + file)) << file;
  }
}

// The predictor is fitted again when a run is resumed, and takes nothing from the agent's draws.
TEST_F(TrainingRunTest, SlowARunWithAutoResumesAndTrainsTheSameAgent) {
  options_.updates = 8;
  TrainingRunObserver nobody;
  Make("numbers", false).Train(nobody);
  info_.targets = {Target::Auto(), 20};
  Make("whole", false).Train(nobody);
  int asked = 0;
  Make("parts", false).Train(nobody, [&] { return ++asked > 3; });
  EXPECT_EQ(ReadCheckpoint(Folder("parts") + "/last.safetensors").info.updates, 3);
  Make("parts", true).Train(nobody);
  const std::string last = "/last.safetensors", state = "/resume.safetensors";
  EXPECT_EQ(ReadBytes(Folder("parts") + last), ReadBytes(Folder("whole") + last));
  EXPECT_EQ(ReadBytes(Folder("whole") + state), ReadBytes(Folder("numbers") + state));
  const Checkpoint read = ReadCheckpoint(Folder("whole") + last);
  EXPECT_EQ(read.info.targets, info_.targets);
  // the longest episode earns 30, the scale is 1000
  std::vector<float> seen(3);
  info_.normalizer.Apply(std::span(episodes_.observations).subspan(3 * episodes_.offsets[1], 3),
                         seen);
  float first = 0;
  read.info.return_predictor->Predict(seen, 0, {&first, 1});
  EXPECT_NEAR(first, 0.03, 0.005);
}

TEST_F(TrainingRunTest, TheWeightsAreThoseOfATrainerAlone) {
  options_.updates = 9;
  TrainingRunObserver nobody;
  Make("run", false).Train(nobody);
  torch::manual_seed(options_.trainer.seed);
  Trainer trainer(MakeAgent(options_.agent), episodes_, info_.normalizer, options_.trainer);
  trainer.Update(9);
  const Checkpoint last = ReadCheckpoint(Folder("run") + "/last.safetensors");
  EXPECT_EQ(last.info.updates, 9);
  EXPECT_EQ(last.info.return_scale, options_.trainer.return_scale);
  const auto weights = last.agent->module().named_parameters();
  for (const auto& expected : trainer.agent().module().named_parameters()) {
    EXPECT_TRUE(torch::equal(weights[expected.key()], expected.value())) << expected.key();
  }
}

TEST_F(TrainingRunTest, EvaluationsAreOfSavedAgentsAndDoneOnce) {
  options_.updates = 25;
  options_.eval_every = 10;
  TrainingRecorder recorder;
  Make("run", false).Train(recorder);
  EXPECT_THAT(recorder.evaluations, ElementsAre(10, 20, 25));
  EXPECT_EQ(recorder.evaluated, recorder.evaluations);
  // one that was lost is done again at the start, the others are not
  recorder.evaluations = {10, 20};
  Make("run", true).Train(recorder);
  EXPECT_THAT(recorder.evaluations, ElementsAre(10, 20, 25));
}

TEST_F(TrainingRunTest, AFailureSavesTheLastGoodWeights) {
  options_.trainer.learning_rate = 1e30;
  options_.trainer.warmup = 0;
  TrainingRecorder recorder;
  EXPECT_THROW(Make("run", false).Train(recorder), NotFiniteError);
  ASSERT_FALSE(recorder.updates.empty());
  const Checkpoint last = ReadCheckpoint(Folder("run") + "/last.safetensors");
  EXPECT_EQ(last.info.updates, recorder.updates.back());
  EXPECT_EQ(Make("run", true).updates(), recorder.updates.back());
}

TEST_F(TrainingRunTest, ARunIsContinuedOnlyWithResumeAndItsOwnDataAndOptions) {
  options_.updates = 3;
  TrainingRunObserver nobody;
  Make("run", true).Train(nobody);  // none to resume: it begins
  EXPECT_THAT(Message("run", false), HasSubstr("expected a folder without a run, found one"));
  info_.dataset_sha256 = "34cd";
  EXPECT_EQ(Message("run", true),
            "data.hdf5: SHA-256 of the run's data: expected 12ab, found 34cd");
  info_.dataset_sha256 = "12ab";
  options_.trainer.learning_rate *= 2;
  EXPECT_THAT(Message("run", true), HasSubstr("resume.safetensors: metadata trainer: expected"));
  options_.save_every = 0;
  EXPECT_EQ(Message("run", true), "save-every: expected at least 1, found 0");
}

TEST_F(TrainingRunTest, BeginsWithTheWeightsItIsGiven) {
  options_.updates = 0;
  torch::manual_seed(77);
  const DecisionTransformer initial(options_.agent.dt);
  TrainingRun run(options_, episodes_, info_, Folder("run"), false, torch::kCPU, initial);
  TrainingRunObserver nobody;
  run.Train(nobody);
  const Checkpoint last = ReadCheckpoint(run.checkpoint());
  EXPECT_TRUE(torch::equal(last.agent->transformer()->head->weight, initial->head->weight));
}

}  // namespace
}  // namespace cosdt::agents
