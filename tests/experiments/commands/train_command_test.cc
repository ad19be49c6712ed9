#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "agents/models/checkpoint.h"
#include "tests/experiments/commands/train_runs.h"
#include "tests/read_bytes.h"

namespace cosdt {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::HasSubstr;

class TrainCommandTest : public TrainTest {};

TEST_F(TrainCommandTest, TakesThePhysicsFromTheData) {
  const std::string data = folder_ + "/v5.hdf5";
  ASSERT_EQ(RunProgram("data collect --env hopper --policy random --transitions 600 --physics "
                       "gymnasium-v5 --out " +
                       data)
                .exit_code,
            0);
  const auto train = [&](const std::string& out, const std::string& rest) {
    return RunProgram("train --dataset " + data + " --out " + folder_ + "/" + out +
                      " --threads 1 --agent bc --width 8 --updates 2 " + rest);
  };
  const std::string made_in = data + " was made in gymnasium-v5 physics, as metadata/physics says";
  const std::string said = train("run", "2>&1 >/dev/null").output;
  EXPECT_THAT(said, HasSubstr("cosdt: physics: gymnasium-v5, for " + made_in + " (MuJoCo "));
  EXPECT_EQ(std::ranges::count(said, '\n'), 1) << said;
  EXPECT_THAT(ReadBytes(Out("run/config.toml")), HasSubstr("physics = 'gymnasium-v5'"));
  EXPECT_EQ(json::parse(train("run", "--resume --json 2>/dev/null").output)["physics"],
            "gymnasium-v5");
  EXPECT_EQ(train("run", "--resume 2>&1 >/dev/null").output, "");  // the run has said it

  EXPECT_THAT(train("other", "--physics d4rl 2>&1 >/dev/null").output,
              HasSubstr("cosdt: warning: agents are evaluated in d4rl physics; " + made_in));
  EXPECT_THAT(ReadBytes(Out("other/config.toml")), HasSubstr("physics = 'd4rl'"));
  EXPECT_EQ(train("same", "--physics gymnasium-v5 2>&1 >/dev/null").output, "");
}

TEST_F(TrainCommandTest, TheAgentWithTheLowestValidationLossIsTheBest) {
  const std::string flags = "--validation 20% --save-every 50 --lr 1e-2 --json ";
  const json straight = json::parse(Train("straight", "--updates 250 " + flags).output);
  std::istringstream lines(ReadBytes(Out("straight/metrics.jsonl")));
  std::vector<std::pair<double, int64_t>> losses;
  for (std::string line; std::getline(lines, line);) {
    const json object = json::parse(line);
    if (object.contains("validation_loss")) {
      losses.emplace_back(object["validation_loss"], object["update"]);
    }
  }
  ASSERT_EQ(losses.size(), 5);
  EXPECT_EQ(straight["validation_loss"], losses.back().first);
  const int64_t best = std::ranges::min_element(losses)->second;
  EXPECT_EQ(straight["best"]["update"], best);
  const agents::Checkpoint agent = agents::ReadCheckpoint(straight["best"]["checkpoint"]);
  EXPECT_EQ(agent.info.updates, best);

  // resumed: the same
  Train("resumed", "--updates 100 " + flags);
  const json resumed = json::parse(Train("resumed", "--updates 250 --resume " + flags).output);
  EXPECT_EQ(resumed["validation_loss"], straight["validation_loss"]);
  EXPECT_EQ(agents::ReadCheckpoint(resumed["best"]["checkpoint"]).info.updates,
            std::ranges::min_element(losses)->second);
}

TEST_F(TrainCommandTest, WritesARunAndReportsIt) {
  const ProgramResult result = Train("run", "--updates 250 --seed 3 --json");
  ASSERT_EQ(result.exit_code, 0);
  const json report = json::parse(result.output);
  EXPECT_EQ(report["env"], "hopper");
  EXPECT_EQ(report["physics"], "d4rl");
  EXPECT_EQ(report["seed"], 3);
  EXPECT_EQ(report["updates"], 250);
  EXPECT_GT(report["loss"], 0);
  EXPECT_GT(report["updates_per_second"], 0);
  EXPECT_EQ(report["device"], "cpu");
  EXPECT_EQ(report["update_path"], "cpu");
  EXPECT_EQ(report["attention_path"], "kernels");
  EXPECT_TRUE(report["peak_device_memory"].is_null());
  EXPECT_EQ(report["dataset"]["path"], data_);
  EXPECT_EQ(report["last"]["checkpoint"], Out("run/last.safetensors").string());
  EXPECT_THAT(ReadBytes(Out("run/last.safetensors")),
              HasSubstr("[3600.0,1800.0]"));  // hopper's targets
  std::vector<int64_t> updates;
  std::ifstream metrics(Out("run/metrics.jsonl"));
  for (std::string line; std::getline(metrics, line);)
    updates.push_back(json::parse(line)["update"]);
  EXPECT_EQ(updates, (std::vector<int64_t>{100, 200, 250}));

  // its options, fed back, give the same weights; so do those of older runs
  std::ofstream(Out("run/config.toml"), std::ios::app) << "cuda-graph = false\n";
  const ProgramResult again = RunProgram("train --config " + Out("run/config.toml").string() +
                                         " --out " + Out("again").string());
  ASSERT_EQ(again.exit_code, 0);
  EXPECT_EQ(ReadBytes(Out("again/last.safetensors")), ReadBytes(Out("run/last.safetensors")));
}

TEST_F(TrainCommandTest, EvaluatesWhileItTrainsAndKeepsTheBest) {
  const std::string options = "--updates 25 --save-every 4 --eval-every 10 --episodes 3 --seed 2 ";
  const ProgramResult result = Train("run", options + "--json");
  ASSERT_EQ(result.exit_code, 0);
  const json report = json::parse(result.output);
  std::vector<json> evaluations;
  std::ifstream lines(Out("run/evaluations.jsonl"));
  for (std::string line; std::getline(lines, line);) evaluations.push_back(json::parse(line));
  ASSERT_EQ(evaluations.size(), 3u);
  EXPECT_EQ(evaluations[0]["update"], 10);
  EXPECT_EQ(evaluations[1]["update"], 20);
  EXPECT_EQ(evaluations[2]["update"], 25);
  const json* best = &evaluations[0];
  for (const json& line : evaluations) {
    if (line["targets"][0]["mean"] > (*best)["targets"][0]["mean"]) best = &line;
  }
  EXPECT_EQ(report["last"]["targets"], evaluations[2]["targets"]);
  EXPECT_EQ(report["best"]["targets"], (*best)["targets"]);
  EXPECT_EQ(report["best"]["update"], (*best)["update"]);

  // both are what eval finds
  for (const char* which : {"last", "best"}) {
    const ProgramResult eval = RunProgram("eval " + report[which]["checkpoint"].get<std::string>() +
                                          " --episodes 3 --seed 2 --json");
    ASSERT_EQ(eval.exit_code, 0);
    EXPECT_EQ(json::parse(eval.output)["targets"], report[which]["targets"]);
  }
  EXPECT_THAT(ReadBytes(Out("run/metrics.jsonl")), HasSubstr("eval/normalized_score/3600.0"));

  // killed while the last evaluation was written: it is done again, and told of once
  const std::string whole = ReadBytes(Out("run/evaluations.jsonl"));
  const std::string metrics = ReadBytes(Out("run/metrics.jsonl"));
  fs::resize_file(Out("run/evaluations.jsonl"), whole.size() - 30);
  ASSERT_EQ(Train("run", options + "--resume").exit_code, 0);
  EXPECT_EQ(ReadBytes(Out("run/evaluations.jsonl")), whole);
  EXPECT_EQ(ReadBytes(Out("run/metrics.jsonl")), metrics);
  std::ofstream(Out("run/evaluations.jsonl"), std::ios::app) << "{\"update\":25}\n";
  EXPECT_THAT(Train("run", options + "--resume 2>&1").output,
              HasSubstr("run/evaluations.jsonl: update 25: expected the evaluation of its first "
                        "target, found none"));

  EXPECT_THAT(Train("x", "--eval-every -1 2>&1").output, HasSubstr("eval-every: expected"));
}

TEST_F(TrainCommandTest, NamesThatAreNotUtf8AreRefusedForDataAndReplacedInJson) {
  const std::string odd = Out("odd\xff.hdf5").string();
  fs::copy_file(data_, odd);
  const std::string replaced = Out("odd\xef\xbf\xbd.hdf5").string();
  const ProgramResult refused =
      RunProgram("train --dataset '" + odd + "' --out " + Out("run").string() + " 2>&1");
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_EQ(refused.output,
            "cosdt: error: dataset: expected a path in UTF-8, found " + replaced + "\n");
  EXPECT_FALSE(fs::exists(Out("run")));
  const ProgramResult info = RunProgram("data info '" + odd + "' --json");
  ASSERT_EQ(info.exit_code, 0);
  EXPECT_EQ(json::parse(info.output)["dataset"]["path"], replaced);
  // a run's folder may have any name
  const ProgramResult run = Train("'r\xff'", "--updates 2 --json");
  ASSERT_EQ(run.exit_code, 0);
  EXPECT_EQ(json::parse(run.output)["last"]["checkpoint"],
            Out("r\xef\xbf\xbd/last.safetensors").string());
  EXPECT_EQ(json::parse(Train("'r\xff'", "--updates 3 --resume --json").output)["updates"], 3);
  EXPECT_EQ(RunProgram("eval '" + Out("r\xff").string() + "' --episodes 1 --json").exit_code, 0);
}

TEST_F(TrainCommandTest, ALimitOfFileSizesIsSaidAtTheStart) {
  const std::string state = Out("run/resume.safetensors").string();
  const std::string run =
      "--dataset " + data_ + " --out " + Out("run").string() + " --updates 2 --physics d4rl ";
  const ProgramResult small = TrainIn(folder_, run + "2>&1", "ulimit -f 4 && ");
  EXPECT_EQ(small.exit_code, 1);
  const std::string start = "cosdt: error: " + state + ": expected room for ";
  ASSERT_THAT(small.output, testing::StartsWith(start));
  EXPECT_THAT(small.output, testing::EndsWith(" on the size of a file (ulimit -f)\n"));
  EXPECT_EQ(std::ranges::count(small.output, '\n'), 1);
  EXPECT_FALSE(fs::exists(Out("run/config.toml")));
  // room for the numbers and not for the names before them: the save fails, and leaves nothing
  const int64_t bytes = std::stoll(small.output.substr(start.size()));
  const ProgramResult full =
      TrainIn(folder_, run + "2>&1", "ulimit -f " + std::to_string(bytes / 512 + 1) + " && ");
  EXPECT_EQ(full.exit_code, 1);
  EXPECT_THAT(full.output, testing::EndsWith("File too large\n"));
  for (const auto& entry : fs::directory_iterator(Out("run"))) {
    EXPECT_THAT(entry.path().filename().string(), testing::Not(testing::EndsWith(".tmp")));
  }
  EXPECT_FALSE(fs::exists(state));
  EXPECT_EQ(TrainIn(folder_, run + "--resume").exit_code, 0);
}

TEST_F(TrainCommandTest, ThreadsAreWhatIsSaidElseWhatTheProcessMayUse) {
  const auto train = [&](const std::string& out, const std::string& more) {
    EXPECT_EQ(RunProgram("train --dataset " + data_ + " --out " + Out(out).string() +
                             " --agent bc --batch-size 4 --updates 1 " + more,
                         "SLURM_CPUS_PER_TASK=1")
                  .exit_code,
              0);
    return ReadBytes(Out(out + "/config.toml"));
  };
  EXPECT_THAT(train("one", ""), HasSubstr("threads = 1\n"));
  EXPECT_THAT(train("three", "--threads 3"), HasSubstr("threads = 3\n"));
}

TEST_F(TrainCommandTest, SeveralSeedsAreSeveralRuns) {
  const ProgramResult result = Train("runs", "--updates 3 --agent bc --seeds 4-5 --json");
  ASSERT_EQ(result.exit_code, 0);
  const json runs = json::parse(result.output)["runs"];
  ASSERT_EQ(runs.size(), 2u);
  EXPECT_EQ(runs[1]["seed"], 5);
  EXPECT_NE(ReadBytes(Out("runs/seed-4/last.safetensors")),
            ReadBytes(Out("runs/seed-5/last.safetensors")));
}

TEST_F(TrainCommandTest, ExportsToTransformers) {
  ASSERT_EQ(
      Train("run", "--updates 2 --attention softmax --export-hf " + Out("hf").string()).exit_code,
      0);
  EXPECT_TRUE(fs::exists(Out("hf/config.json")));
  EXPECT_TRUE(fs::exists(Out("hf/model.safetensors")));
  // every seed has a folder of its own
  ASSERT_EQ(Train("runs", "--updates 2 --attention softmax --seeds 0,4 --export-hf " +
                              Out("seeds").string())
                .exit_code,
            0);
  EXPECT_EQ(ReadBytes(Out("seeds/seed-0/model.safetensors")),
            ReadBytes(Out("hf/model.safetensors")));
  EXPECT_TRUE(fs::exists(Out("seeds/seed-4/config.json")));
  EXPECT_NE(ReadBytes(Out("seeds/seed-4/model.safetensors")),
            ReadBytes(Out("hf/model.safetensors")));
  EXPECT_THAT(Train("other", "--updates 2 --export-hf x 2>&1").output,
              HasSubstr("expected a dt agent with softmax attention, found dt cosformer"));
}

TEST_F(TrainCommandTest, BeginsWithAModelOfTransformers) {
  const std::string hf = Out("hf").string();
  ASSERT_EQ(Train("run", "--updates 2 --attention softmax --export-hf " + hf).exit_code, 0);
  const ProgramResult result = Train("imported", "--updates 0 --json --import-hf " + hf);
  ASSERT_EQ(result.exit_code, 0);
  EXPECT_EQ(json::parse(result.output)["updates"], 0);
  // no update lies between the two, and transformers has no other weights
  ASSERT_EQ(Train("again", "--updates 0 --attention softmax --export-hf " + Out("hf2").string() +
                               " --import-hf " + hf)
                .exit_code,
            0);
  EXPECT_EQ(ReadBytes(Out("hf2/model.safetensors")), ReadBytes(Out("hf/model.safetensors")));
  EXPECT_EQ(ReadBytes(Out("imported/last.safetensors")), ReadBytes(Out("again/last.safetensors")));
  const std::string golden =
      std::string(COSDT_SOURCE_DIR) + "/tests/agents/models/golden_decision_transformer/relu/model";
  EXPECT_THAT(Train("other", "--import-hf " + golden + " 2>&1").output,
              HasSubstr("expected a model for the data's 11 observations and 3 actions, found one "
                        "for 4 observations and 2 actions"));
}

TEST_F(TrainCommandTest, SaysWhatIsWrong) {
  const auto config = [&](const std::string& text) {
    std::ofstream(Out("c.toml")) << text;
    return Train("x", "--config " + Out("c.toml").string() + " 2>&1").output;
  };
  EXPECT_THAT(
      config("dropuot = 0.1\n"),
      HasSubstr("c.toml: dropuot: expected a known option, such as dropout, found dropuot"));
  EXPECT_THAT(config("heads = \"two\"\n"),
              HasSubstr("heads: expected a whole number, found 'two'"));
  EXPECT_THAT(config("heads = = 2\n"), HasSubstr("c.toml: line 1: expected TOML"));
  EXPECT_THAT(config("\"a\\nb\" = 1\n"), testing::EndsWith(", found a b\n"));  // one line
  EXPECT_THAT(config("heads = 3\n"),
              HasSubstr("width: expected a multiple of heads = 3, found 16"));
  EXPECT_THAT(Train("x", "--preset original-hoper 2>&1").output,
              HasSubstr("such as original-hopper, found original-hoper"));
  EXPECT_EQ(Train("x", "--lr fast 2>/dev/null").exit_code, 2);
  EXPECT_THAT(Train("x", "--precision tf32 2>&1").output,
              HasSubstr("precision: tf32 expects a GPU (--device cuda), found cpu"));
  EXPECT_THAT(Train("x", "--updates -1 2>&1").output, HasSubstr("updates: expected at least 0"));
  EXPECT_THAT(Train("x", "--attention cosine 2>&1").output, HasSubstr("cosine"));
  const auto usage = [&](const std::string& rest) {
    const ProgramResult result = Train("x", rest + " 2>&1");
    EXPECT_EQ(result.exit_code, 2) << rest;
    return result.output.substr(0, result.output.find('\n'));
  };
  EXPECT_EQ(usage("--seeds 5-3"), "seeds: expected FIRST-LAST or numbers with commas, found 5-3");
  EXPECT_EQ(usage("--seeds 0,0"), "seeds: expected each value once, found 0 twice");
  EXPECT_EQ(usage("--seeds 0-2 --seed 1"), "--seeds excludes --seed");
  EXPECT_FALSE(fs::exists(Out("x")));
  EXPECT_THAT(RunProgram("train --dataset nothing-v9 --out " + Out("x").string() + " 2>&1").output,
              HasSubstr("nothing-v9"));
  EXPECT_THAT(RunProgram("train --out " + Out("x").string() + " 2>&1").output,
              HasSubstr("dataset: expected a file"));
  EXPECT_EQ(RunProgram("train 2>/dev/null").exit_code, 2);

  ASSERT_EQ(Train("run", "--updates 2").exit_code, 0);
  EXPECT_THAT(Train("run", "--updates 2 2>&1").output,
              HasSubstr("found one (resume to continue it)"));
  EXPECT_THAT(Train("run", "--updates 2 --resume --heads 2 2>&1").output,
              HasSubstr("--heads: expected 1, with which the run began, found 2"));
  fs::resize_file(Out("run/resume.safetensors"), 1000);
  EXPECT_THAT(Train("run", "--updates 4 --resume 2>&1").output, HasSubstr("resume.safetensors: "));
}

TEST_F(TrainCommandTest, ListsItsPresets) {
  const ProgramResult result = RunProgram("train --list-presets");
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.output, HasSubstr("original-hopper"));
  EXPECT_THAT(result.output, HasSubstr("long-1000"));
  // all of them are valid
  std::istringstream lines(result.output);
  for (std::string line; std::getline(lines, line);) {
    const std::string name = line.substr(0, line.find(' '));
    // the table of agents with critics makes all of a kind alike
    const bool with_critics =
        name.starts_with("td3bc-") || name.starts_with("rebrac-") || name.starts_with("iql-");
    if (with_critics && !name.ends_with("-hopper-medium") &&
        !name.ends_with("-hopper-medium-expert")) {
      continue;
    }
    const std::string env =
        name.find("hopper") != std::string::npos || name.find("long") == 0 ? "" : " --env hopper";
    const ProgramResult run = RunProgram(
        "train --preset " + name + env + " --dataset " + data_ + " --out " + Out(name).string() +
        " --threads 1 --updates 1 --batch-size 1 --width 16 --heads 4 2>&1");
    EXPECT_EQ(run.exit_code, 0) << run.output;
  }
}

}  // namespace
}  // namespace cosdt
