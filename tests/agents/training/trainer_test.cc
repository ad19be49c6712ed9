#include "agents/training/trainer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <limits>

#include "agents/models/checkpoint.h"
#include "agents/models/precision.h"
#include "tests/agents/models/checkpoint_error.h"
#include "tests/agents/training/small_training.h"

namespace cosdt::agents {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using torch::Tensor;

class TrainerTest : public testing::TestWithParam<std::string> {
 protected:
  ~TrainerTest() override { fs::remove(path_); }

  Trainer Make(const TrainerOptions& options = FastTraining()) {
    torch::manual_seed(11);
    return {MakeAgent(SmallAgent(GetParam())), episodes_, datasets::MakeNormalizer(episodes_),
            options};
  }

  static bool SameWeights(Trainer& a, Trainer& b) {
    const auto pa = a.agent().module().parameters(), pb = b.agent().module().parameters();
    for (size_t i = 0; i < pa.size(); ++i) {
      if (!torch::equal(pa[i], pb[i])) return false;
    }
    return true;
  }

  datasets::Episodes episodes_ = MakeEpisodes();
  std::string path_ = testing::TempDir() + "trainer_" + std::to_string(getpid());
};

INSTANTIATE_TEST_SUITE_P(Agents, TrainerTest, testing::Values("dt", "bc"),
                         [](const auto& test) { return test.param; });

TEST_P(TrainerTest, LearnsAFunctionOfTheObservation) {
  Trainer trainer = Make();
  double first = 0, last = 0;
  for (int i = 0; i < 600; ++i) {
    const double loss = trainer.Update().loss;
    if (i < 20) first += loss / 20;
    if (i >= 580) last += loss / 20;
  }
  EXPECT_LT(last, 0.15 * first);
}

TEST_P(TrainerTest, SameSeedSameWeights) {
  Trainer a = Make(), b = Make();
  TrainerOptions other = FastTraining();
  other.seed = 6;
  Trainer c = Make(other);
  for (Trainer* trainer : {&a, &b, &c}) {
    for (int i = 0; i < 5; ++i) trainer->Update();
  }
  EXPECT_TRUE(SameWeights(a, b));
  EXPECT_FALSE(SameWeights(a, c));
}

TEST_P(TrainerTest, ResumesBitForBit) {
  Trainer whole = Make(), first = Make();
  for (int i = 0; i < 20; ++i) whole.Update();
  for (int i = 0; i < 7; ++i) first.Update();
  first.Save(path_, {{"note", "seven"}});
  torch::manual_seed(99);
  Trainer second(MakeAgent(SmallAgent(GetParam())), episodes_, datasets::MakeNormalizer(episodes_),
                 FastTraining());
  EXPECT_EQ(second.Restore(path_).at("note"), "seven");
  EXPECT_EQ(second.updates(), 7);
  while (second.updates() < 20) second.Update();
  EXPECT_TRUE(SameWeights(whole, second));
}

TEST_P(TrainerTest, BFloat16LearnsAsWell) {
  TrainerOptions options = FastTraining();
  Trainer exact = Make(options);
  options.precision = "bf16";
  Trainer rounded = Make(options);
  for (int i = 0; i < 50; ++i) {
    const double a = exact.Update().loss, b = rounded.Update().loss;
    EXPECT_NEAR(b, a, 0.1 * a);
  }
  // behaviour cloning stays in float32, as all do on processors that are not faster in bfloat16
  const bool float32 = CpuComputeType(torch::kBFloat16) == torch::kFloat32;
  EXPECT_EQ(SameWeights(exact, rounded), GetParam() == "bc" || float32);
}

TEST_P(TrainerTest, GradientsAreClippedByTheirNorm) {
  // the first moment of the first update is 1 - beta1 times the gradient that it was given
  const auto gradient = [&](UpdatePath path, double clip) {
    TrainerOptions options = FastTraining();
    options.clip = clip;
    torch::manual_seed(11);
    Trainer trainer(MakeAgent(SmallAgent(GetParam())), episodes_,
                    datasets::MakeNormalizer(episodes_), options, path);
    const double norm = trainer.Update().gradient_norm;
    trainer.Save(path_);
    const Tensor given = ReadSafetensors(path_).tensors["adamw.first"] / (1 - AdamW::kBeta1);
    return std::pair(given, norm);
  };
  for (const UpdatePath path : {UpdatePath::kAutograd, UpdatePath::kExplicit}) {
    const auto [whole, norm] = gradient(path, 0);
    EXPECT_GT(norm, 0.1);
    EXPECT_NEAR(whole.norm().item<double>(), norm, 1e-5 * norm);
    for (const double clip : {0.1 * norm, 0.9 * norm, 1.1 * norm}) {
      const auto [given, reported] = gradient(path, clip);
      EXPECT_EQ(reported, norm);  // before clipping
      const double expected = std::min(clip, norm);
      EXPECT_NEAR(given.norm().item<double>(), expected, 1e-4 * expected);
      EXPECT_LT((given - whole * (expected / norm)).abs().max().item<double>(), 1e-4 * expected);
    }
  }
}

TEST_P(TrainerTest, RatesWarmUp) {
  TrainerOptions options = FastTraining();
  options.warmup = 4;
  Trainer trainer = Make(options);
  std::vector<double> rates;
  for (int i = 0; i < 6; ++i)
    rates.push_back(trainer.Update().learning_rate / options.learning_rate);
  EXPECT_THAT(rates, testing::Pointwise(testing::DoubleNear(1e-12),
                                        std::vector<double>{0.25, 0.5, 0.75, 1, 1, 1}));
}

TEST_P(TrainerTest, RatesFallAsACosine) {
  TrainerOptions options = FastTraining();
  options.warmup = 0;
  options.lr_decay = 4;
  Trainer trainer = Make(options);
  std::vector<double> rates;
  for (int i = 0; i < 6; ++i)
    rates.push_back(trainer.Update().learning_rate / options.learning_rate);
  const double half = std::sqrt(0.5);
  EXPECT_THAT(
      rates, testing::Pointwise(testing::DoubleNear(1e-12),
                                std::vector<double>{1, (1 + half) / 2, 0.5, (1 - half) / 2, 0, 0}));
}

TEST_P(TrainerTest, StopsBeforeWeightsAreHarmed) {
  Trainer trainer = Make();
  trainer.Update();
  {
    const torch::NoGradGuard no_grad;
    trainer.agent().module().parameters().back().fill_(std::numeric_limits<float>::quiet_NaN());
  }
  const Tensor kept = trainer.agent().module().parameters().front().clone();
  try {
    trainer.Update();
    FAIL();
  } catch (const std::runtime_error& e) {
    EXPECT_THAT(e.what(), HasSubstr("training: update 2: expected a finite loss, found"));
  }
  EXPECT_TRUE(torch::equal(trainer.agent().module().parameters().front(), kept));
  EXPECT_EQ(trainer.updates(), 1);
}

TEST_P(TrainerTest, RefusesBadDataAndOptions) {
  const auto message = [&](const TrainerOptions& options) -> std::string {
    try {
      Make(options);
    } catch (const std::exception& e) {
      return e.what();
    }
    return "";
  };
  TrainerOptions options = FastTraining();
  options.batch_size = 0;
  EXPECT_THAT(message(options), HasSubstr("batch_size: expected at least 1, found 0"));
  options = FastTraining();
  options.learning_rate = std::numeric_limits<double>::quiet_NaN();
  EXPECT_THAT(message(options), HasSubstr("learning rate: expected a positive number"));
  options = FastTraining();
  options.sample = "half";
  EXPECT_THAT(message(options), HasSubstr("sample: expected any or whole, found half"));
  options = FastTraining();
  options.precision = "fp8";
  EXPECT_THAT(message(options), HasSubstr("expected fp32, tf32 or bf16, found fp8"));
  episodes_.observations[7] = std::numeric_limits<float>::infinity();
  EXPECT_THAT(message(FastTraining()),
              HasSubstr("observations: expected finite values, found inf in row 2"));
  episodes_.observation_size = 4;
  EXPECT_THAT(message(FastTraining()), HasSubstr("expected 3 observations and 2 actions, found 4"));
}

TEST_P(TrainerTest, RefusesAnotherRunsFile) {
  Trainer trainer = Make();
  trainer.Save(path_);
  TrainerOptions other = FastTraining();
  other.batch_size = 17;
  Trainer second = Make(other);
  EXPECT_THROW(second.Restore(path_), std::runtime_error);
  EXPECT_THROW(second.Restore(path_ + ".missing"), std::runtime_error);
}

TEST_P(TrainerTest, RefusesAStateOfOtherCounts) {
  Trainer trainer = Make();
  trainer.Update();
  trainer.Save(path_);
  const Safetensors good = ReadSafetensors(path_);
  const auto message = [&](const char* key, const char* value) -> std::string {
    Safetensors file = good;
    file.metadata[key] = value;
    WriteSafetensors(path_, file);
    try {
      trainer.Restore(path_);
    } catch (const std::exception& e) {
      return e.what();
    }
    return "";
  };
  EXPECT_EQ(message("updates", "1"), "");
  for (const char* count : {"-1", "1.5", "x", "", "576460752303423488", "18446744073709551615"}) {
    EXPECT_EQ(message("updates", count),
              path_ +
                  ": metadata updates: expected a whole number up to 576460752303423487, found " +
                  count);
  }
  EXPECT_EQ(message("updates", "2"), path_ + ": metadata position: expected 32, found 16");
  EXPECT_EQ(message("position", "17"), path_ + ": metadata position: expected 16, found 17");
}

TEST_P(TrainerTest, CheckpointsHoldAllThatEvaluationNeeds) {
  Trainer trainer = Make();
  for (int i = 0; i < 3; ++i) trainer.Update();
  CheckpointInfo info;
  info.normalizer = trainer.normalizer();
  info.env = "hopper";
  info.dataset = "a/b.hdf5";
  info.dataset_sha256 = "00ff";
  info.targets = {3600, 1800.5, Target::Auto()};
  info.updates = 3;
  info.run = "seed = 5\n[x]\n";
  WriteCheckpoint(path_, trainer.agent(), info);
  Checkpoint read = ReadCheckpoint(path_);
  EXPECT_EQ(read.info.normalizer.mean, info.normalizer.mean);
  EXPECT_EQ(read.info.normalizer.std, info.normalizer.std);
  EXPECT_EQ(read.info.env, "hopper");
  EXPECT_EQ(read.info.physics, "d4rl");
  EXPECT_EQ(read.info.dataset, "a/b.hdf5");
  EXPECT_EQ(read.info.dataset_sha256, "00ff");
  EXPECT_EQ(read.info.targets, info.targets);
  EXPECT_EQ(read.info.return_scale, 1000);
  EXPECT_EQ(read.info.updates, 3);
  EXPECT_EQ(read.info.run, info.run);
  EXPECT_EQ(ToJson(read.agent->options()), ToJson(trainer.agent().options()));
  EXPECT_FALSE(read.agent->module().is_training());
  const auto a = trainer.agent().module().parameters(), b = read.agent->module().parameters();
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) EXPECT_TRUE(torch::equal(a[i], b[i]));
}

TEST_P(TrainerTest, ChangedCheckpointsAreRefused) {
  Trainer trainer = Make();
  CheckpointInfo info;
  info.normalizer = trainer.normalizer();
  WriteCheckpoint(path_, trainer.agent(), info);
  const Safetensors good = ReadSafetensors(path_);
  const auto message = [&](auto change) -> std::string {
    Safetensors file = good;
    change(file);
    return CheckpointError(path_, file);
  };
  EXPECT_EQ(message([](auto&) {}), "");
  EXPECT_THAT(message([](auto& f) { f.metadata["format"] = "pt"; }),
              HasSubstr("metadata format: expected cosdt-checkpoint-1, found pt"));
  EXPECT_THAT(message([](auto& f) { f.metadata.erase("env"); }), HasSubstr("metadata env"));
  EXPECT_THAT(message([](auto& f) { f.metadata["targets"] = "many"; }),
              HasSubstr("metadata targets: expected a list of numbers and \"auto\", found many"));
  EXPECT_THAT(
      message([](auto& f) { f.metadata["targets"] = R"([1, "much"])"; }),
      HasSubstr(R"(metadata targets: expected a list of numbers and "auto", found [1, "much)"));
  EXPECT_THAT(message([](auto& f) { f.metadata["updates"] = "1.5"; }),
              HasSubstr("metadata updates: expected a whole number, found 1.5"));
  const auto layers = [](const char* number) {
    return [number](Safetensors& f) {
      std::string& agent = f.metadata["agent"];
      const std::string two = "\"layers\":2";
      agent.replace(agent.find(two), two.size(), std::string("\"layers\":") + number);
    };
  };
  EXPECT_THAT(message(layers("2.5")),
              HasSubstr("agent.layers: expected a value of another type, found 2.5"));
  EXPECT_THAT(message([](auto& f) { f.metadata["agent"] = R"({"kind":"td3"})"; }),
              HasSubstr("agent"));
  // no memory is taken for what the weights cannot fill
  EXPECT_THAT(
      message(layers("2000000000000")),
      testing::ContainsRegex(
          "metadata agent: expected at most [0-9]+ weights, as the file has, found options"));
  EXPECT_THAT(message([](auto& f) { f.tensors["model.extra"] = torch::zeros({2}); }),
              HasSubstr("model.extra: expected no such weight"));
  EXPECT_THAT(message([](auto& f) { f.tensors.erase("normalizer.std"); }),
              HasSubstr("normalizer.std: expected F32 [3], found none"));
  EXPECT_THAT(message([](auto& f) { f.tensors["normalizer.mean"] = torch::zeros({4}); }),
              HasSubstr("normalizer.mean: expected F32 [3], found F32 [4]"));
}

TEST(WeightCountTest, IsThatOfTheModel) {
  for (const std::string kind : {"dt", "bc", "performer"}) {
    AgentOptions options = SmallAgent(kind == "bc" ? "bc" : "dt");
    options.bc.layers = 3;
    options.dt.layers = 3;
    options.dt.heads = 2;
    if (kind == "performer") {
      options.dt.attention.kind = kind;
      options.dt.attention.features = 5;
    }
    const std::shared_ptr<Agent> agent = MakeAgent(options);
    double count = 0;
    for (const Tensor& t : agent->module().parameters()) count += static_cast<double>(t.numel());
    for (const Tensor& t : agent->module().buffers()) count += static_cast<double>(t.numel());
    EXPECT_EQ(options.WeightCount(), count) << kind;
  }
}

TEST(AdamWTest, StepsAsPyTorchs) {
  torch::manual_seed(1);
  torch::nn::Linear ours(7, 5), theirs(7, 5);
  {
    const torch::NoGradGuard no_grad;
    theirs->weight.copy_(ours->weight);
    theirs->bias.copy_(ours->bias);
  }
  AdamW optimizer(*ours, 0.1);
  torch::optim::AdamW reference(theirs->parameters(),
                                torch::optim::AdamWOptions(0.02).weight_decay(0.1));
  for (int i = 0; i < 20; ++i) {
    const Tensor x = torch::randn({9, 7});
    optimizer.ZeroGradients();
    reference.zero_grad();
    ours(x).square().sum().backward();
    theirs(x).square().sum().backward();
    const double norm = torch::nn::utils::clip_grad_norm_(theirs->parameters(), 0.5);
    EXPECT_NEAR(optimizer.GradientNorm().item<double>(), norm, 1e-4 * norm);
    optimizer.Step(0.02, std::min(1.0, 0.5 / (norm + 1e-6)));
    reference.step();
    EXPECT_LT((ours->weight - theirs->weight).abs().max().item<double>(), 1e-6);
    EXPECT_LT((ours->bias - theirs->bias).abs().max().item<double>(), 1e-6);
  }
}

}  // namespace
}  // namespace cosdt::agents
