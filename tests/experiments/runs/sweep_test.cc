#include "experiments/runs/sweep.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <stdexcept>
#include <tuple>

namespace cosdt::experiments {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

Sweep Read(const std::string& toml) {
  Sweep sweep;
  ReadSweep("sweep.toml", toml, sweep);
  return sweep;
}

std::string Message(const std::function<void()>& body) {
  try {
    body();
  } catch (const std::exception& e) {
    return e.what();
  }
  return "nothing was thrown";
}

constexpr const char* kSmall = R"(
datasets = ["demo/hopper-medium", "demo/halfcheetah-medium"]
contexts = [1, 20]
attention = ["cosformer", "softmax"]
baselines = ["bc", "bc-10%"]
seeds = "3-4"
[train]
updates = 100
width = 32
[dataset."demo/halfcheetah-medium"]
updates = 7
)";

TEST(SweepTest, CellsAreTheProductOfItsDimensions) {
  const std::vector<Cell> cells = MakeCells(Read(kSmall), "");
  ASSERT_EQ(cells.size(), 2u * 2 * (2 * 2 + 2));
  std::vector<std::string> first;
  for (size_t i = 0; i < 7; ++i) first.push_back(cells[i].name);
  EXPECT_THAT(first, ElementsAre("demo-hopper-medium/cosformer-K1/seed-3",
                                 "demo-hopper-medium/softmax-K1/seed-3",
                                 "demo-hopper-medium/cosformer-K20/seed-3",
                                 "demo-hopper-medium/softmax-K20/seed-3",
                                 "demo-hopper-medium/bc/seed-3", "demo-hopper-medium/bc-10-/seed-3",
                                 "demo-halfcheetah-medium/cosformer-K1/seed-3"));
  EXPECT_EQ(cells[3].options.agent.dt.attention.kind, "softmax");
  EXPECT_EQ(cells[3].options.agent.dt.context, 20);
  EXPECT_EQ(cells[3].options.agent.dt.width, 32);
  EXPECT_EQ(cells[3].options.trainer.seed, 3u);
  EXPECT_EQ(cells[3].options.updates, 100);
  EXPECT_EQ(cells[4].options.agent.kind, "bc");
  EXPECT_EQ(cells[4].options.agent.bc.width, 0);  // its default, whatever the others have
  EXPECT_EQ(cells[5].options.top, 10);
  EXPECT_EQ(cells[6].options.updates, 7);
}

TEST(SweepTest, BaselinesPredictNoReturns) {
  Sweep sweep = Read(kSmall);
  sweep.train.targets = {agents::Target::Auto(), 3600};
  const std::vector<Cell> cells = MakeCells(sweep, "");
  EXPECT_EQ(cells[3].options.targets, sweep.train.targets);
  EXPECT_EQ(cells[4].options.targets, std::vector<agents::Target>{3600});  // bc
}

TEST(SweepTest, BaselinesWithCriticsTrainAsTheyWerePublished) {
  Sweep sweep = Read(kSmall);
  ReadSweep("change",
            "baselines = ['td3bc', 'rebrac', 'iql']\nattention = []\n[train]\nwarmup = 5\n"
            "targets = [3600]\nupdates = 30\n[dataset.'demo/hopper-medium']\nactor-bc-coef = 0.01",
            sweep);
  const std::vector<Cell> cells = MakeCells(sweep, "");
  const TrainOptions &td3bc = cells[0].options, &rebrac = cells[1].options, &iql = cells[2].options;
  EXPECT_EQ(cells[1].name, "demo-hopper-medium/rebrac/seed-3");
  EXPECT_EQ(td3bc.agent.kind, "td3bc");
  EXPECT_EQ(rebrac.agent.rebrac.actor_bc_coef, 0.01);
  for (const TrainOptions* options : {&td3bc, &rebrac, &iql}) {
    EXPECT_EQ(options->trainer.warmup, 10'000);  // the default, which they do not read
    EXPECT_TRUE(options->targets.empty());
    EXPECT_EQ(options->trainer.seed, 3u);
    EXPECT_EQ(options->updates, 30);
  }
  EXPECT_EQ(iql.trainer.lr_decay, 30);  // of the actor, over the whole run
}

TEST(SweepTest, CharactersBeyondAsciiBelongInStringsAndComments) {
  const std::string good =
      "\xef\xbb\xbf# é\ndatasets = [\"é\", 'é\\', \"\\\\é\"] # é\n"
      "budget = \"\"\"a\"é\"\"\"\n";
  const Sweep sweep = Read(good);
  EXPECT_THAT(sweep.datasets, ElementsAre("é", "é\\", "\\é"));
  EXPECT_EQ(sweep.budget, "a\"é");
  const std::string beyond = "expected TOML, found: a character beyond ASCII outside of a string";
  const auto message = [](const std::string& toml) { return Message([&] { Read(toml); }); };
  EXPECT_EQ(message(good + "é = 1"), "sweep.toml: line 4: " + beyond);
  EXPECT_EQ(message("seeds = [1,\n\u3000 2]"), "sweep.toml: line 2: " + beyond);
  EXPECT_EQ(message("budget = \"\"\"a\\\n  é\"\"\""), "sweep.toml: line 2: " + beyond);
  for (const char* zero : {"\\u0000", "\\U00000000"}) {
    EXPECT_EQ(message(std::string("budget = \"a") + zero + "b\""),
              "sweep.toml: line 1: expected TOML, found: a string with the character U+0000");
  }
  // quotes before the three that end a string
  EXPECT_THAT(Read("datasets = [\"\"\"a\"\"\"\", \"é\"]").datasets, ElementsAre("a\"", "é"));
  EXPECT_EQ(message("datasets = [\"\"\"a\"\"\"\", é]"), "sweep.toml: line 1: " + beyond);
  // the parser says what a string lacks
  EXPECT_THAT(message("budget = \"a\n"),
              HasSubstr("sweep.toml: line 1: expected TOML, found: Error"));
  EXPECT_THAT(message("budget = \"a\\"),
              HasSubstr("sweep.toml: line 1: expected TOML, found: Error"));
}

TEST(SweepTest, AKindPerBlockIsOneKindOfTheSweep) {
  Sweep sweep = Read(kSmall);
  sweep.train.agent.dt.layers = 2;
  sweep.attention = {"local,cosformer"};
  const std::vector<Cell> cells = MakeCells(sweep, "");
  EXPECT_EQ(cells[0].name, "demo-hopper-medium/local-cosformer-K1/seed-3");
  EXPECT_EQ(cells[0].options.agent.dt.attention.kind, "local,cosformer");
  sweep.train.agent.dt.layers = 3;
  EXPECT_THAT(Message([&] { MakeCells(sweep, ""); }), HasSubstr("one per block, found 2"));
}

TEST(SweepTest, EqualTokensGivesShorterContextsMoreUpdates) {
  Sweep sweep = Read(kSmall);
  sweep.budget = "tokens";
  const std::vector<Cell> cells = MakeCells(sweep, "");
  EXPECT_EQ(cells[0].options.updates, 2000);  // context 1
  EXPECT_EQ(cells[2].options.updates, 100);   // context 20
  EXPECT_EQ(cells[4].options.updates, 100);   // behaviour cloning
}

TEST(SweepTest, SaysWhatIsWrong) {
  const auto read = [](const std::string& toml) { return Message([&] { Read(toml); }); };
  EXPECT_THAT(read("context = [1]"), HasSubstr("context: expected a known name, such as contexts"));
  EXPECT_THAT(read("contexts = ["), HasSubstr("line 1: expected TOML"));
  EXPECT_THAT(read("contexts = [\"a\"]"),
              HasSubstr("contexts: expected an array of whole numbers"));
  EXPECT_THAT(read("datasets = 3"), HasSubstr("datasets: expected an array of strings, found 3"));
  EXPECT_THAT(read("[train]\nlearning-rate = 1"),
              HasSubstr("[train]: learning-rate: expected a known option"));
  EXPECT_THAT(read("seeds = [-1]"), HasSubstr("seeds: expected an array of whole numbers"));
  EXPECT_THAT(read("[train]\ncontext = 5"), HasSubstr("context: expected options that all cells"));
  const auto make = [](const std::string& change) {
    return Message([&] {
      Sweep sweep = Read(kSmall);
      ReadSweep("change", change, sweep);
      MakeCells(sweep, "/nowhere");
    });
  };
  EXPECT_THAT(make("datasets = []"), HasSubstr("datasets: expected at least one"));
  EXPECT_THAT(make("datasets = [\"demo/nothing\"]"), HasSubstr("demo/nothing"));
  EXPECT_THAT(make("attention = [\"cosine\"]"), HasSubstr("cosine"));
  EXPECT_THAT(make("baselines = [\"td3\"]"),
              HasSubstr("baselines: expected bc, bc-10%, td3bc, rebrac or iql, found td3"));
  EXPECT_THAT(make("contexts = [0]"), HasSubstr("contexts: expected 1 to 1000000, found 0"));
  EXPECT_THAT(make("seeds = []"), HasSubstr("seeds: expected at least one"));
  EXPECT_THAT(make("budget = \"time\""),
              HasSubstr("budget: expected updates or tokens, found time"));
  EXPECT_EQ(make("attention = [\"softmax\", \"softmax\"]"),
            "attention: expected each value once, found softmax twice");
  EXPECT_EQ(make("seeds = [3, 4, 3]"), "seeds: expected each value once, found 3 twice");
  EXPECT_EQ(make("seeds = \"1,1\""), "change: seeds: expected each value once, found 1 twice");
  EXPECT_THAT(make("[dataset.\"demo/hopper-expert\"]\nupdates = 1"),
              HasSubstr("expected one of the sweep's datasets"));
  // 3 x 20 tokens are more than cosFormer's reach
  EXPECT_THAT(make("[train]\nreweight-length = 59"), HasSubstr("cosformer-K20"));
}

}  // namespace
}  // namespace cosdt::experiments
