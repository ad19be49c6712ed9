// cosdt report as a user meets it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "tests/experiments/report/made_up_runs.h"
#include "tests/experiments/report/xml_fault.h"
#include "tests/program.h"
#include "tests/read_bytes.h"

namespace cosdt::experiments {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

int CountOf(const std::string& text, const std::string& part) {
  int count = 0;
  for (size_t at = 0; (at = text.find(part, at)) != std::string::npos; at += part.size()) ++count;
  return count;
}

class ReportCommandTest : public ::testing::Test {
 protected:
  ReportCommandTest()
      : folder_(::testing::TempDir() + "/cosdt_report_" + std::to_string(getpid())),
        runs_(folder_ + "/runs") {
    std::filesystem::create_directories(runs_);
  }
  ~ReportCommandTest() override { std::filesystem::remove_all(folder_); }

  void Write(const std::string& name, const json& result) { WriteRun(runs_ + "/" + name, result); }

  // Two kinds at two contexts with two seeds on two tasks, and behaviour cloning on one.
  void WriteSweep() {
    const auto write = [&](const std::string& name, const json& result) {
      Write(name, result);
      WriteScores(runs_ + "/" + name, result);
    };
    double score = 11.0625;  // every run has a number of its own
    for (const int seed : {0, 1}) {
      const std::string at = std::to_string(seed) + "/";
      for (const int context : {1, 20}) {
        for (const char* kind : {"cosformer", "softmax"}) {
          const std::string name = at + kind + std::to_string(context);
          write(name, MadeUpResult(kind, context, seed, score += 1.375));
          write(name + "m", MadeUpMaze(kind, context, seed, score += 1.375));
        }
      }
      write(at + "bc", MadeUpCloning(100, seed, score += 1.375));
      write(at + "bc10", MadeUpCloning(10, seed, score += 1.375));
    }
  }

  std::string Output(const std::string& arguments, int exit_code = 0) {
    const ProgramResult result =
        RunProgram("report " + arguments + (exit_code ? " 2>&1" : " 2>/dev/null"));
    EXPECT_EQ(result.exit_code, exit_code) << result.output;
    return result.output;
  }

  std::string folder_, runs_;
};

TEST_F(ReportCommandTest, PrintsATable) {
  Write("a", MadeUpResult("cosformer", 20, 0, 41));
  Write("b", MadeUpResult("cosformer", 20, 1, 43.5));
  Write("c", MadeUpCloning(10, 0, 12.25));
  EXPECT_EQ(Output(runs_),
            "mean +- std (seeds), below it the interquartile mean and its 95 % interval\n"
            "context                              1                    20\n"
            "demo/hopper-medium, normalized score\n"
            "  cosFormer                          -       42.2 +- 1.2 (2)\n"
            "                                     -     42.2 [41.0, 43.5]\n"
            "  10% BC                      12.2 (1)                     -\n"
            "                                     -                     -\n");
}

TEST_F(ReportCommandTest, PrintsJson) {
  WriteSweep();
  const json report = json::parse(Output(runs_ + " --json"));
  EXPECT_THAT(report["cells"], SizeIs(20));
  EXPECT_THAT(report["summary"], SizeIs(10));
  for (const json& cell : report["cells"]) {
    json result = json::parse(ReadBytes(cell["folder"].get<std::string>() + "/result.json"));
    for (const auto& [key, value] : result.items()) EXPECT_EQ(cell[key], value) << key;
    EXPECT_EQ(cell["state"], "done");
  }
  const json& first = report["summary"][0];
  EXPECT_EQ(first["dataset"], "demo/hopper-medium");
  EXPECT_EQ(first["algorithm"], "cosFormer");
  EXPECT_EQ(first["context"], 1);
  EXPECT_EQ(first["seeds"], json({0, 1}));
  EXPECT_EQ(first["mean"],
            (first["scores"][0].get<double>() + first["scores"][1].get<double>()) / 2);
  EXPECT_LE(first["iqm_ci"][0], first["iqm"]);
}

TEST_F(ReportCommandTest, WritesAPageThatStandsAlone) {
  WriteSweep();
  Write("damaged <&>", MadeUpResult("cosformer", 20, 9, 1));
  std::filesystem::remove(runs_ + "/damaged <&>/metrics.jsonl");
  const std::string picture = "\x89PNG\r\n\x1a\n and more";
  std::ofstream(runs_ + "/1/softmax20/frame-0.png", std::ios::binary) << picture;
  EXPECT_EQ(Output(runs_ + " --out " + folder_ + "/r.html"), "");
  const std::string page = ReadBytes(folder_ + "/r.html");
  EXPECT_TRUE(page.starts_with("<!DOCTYPE html>\n<html lang=\"en\">"));
  EXPECT_EQ(XmlFault(page), "");
  for (const std::string heading :
       {"What was compared", "Left out", "Scores", "Over tasks",
        "Normalized scores in the form of published tables", "Score over context",
        "Training time per token", "Peak memory", "Time per decision", "Learning curves",
        "Scores during training", "Attained against requested return", "Performance profiles",
        "Probability of improvement", "Frames", "Runs"}) {
    EXPECT_THAT(page, HasSubstr("<h2>" + heading + "</h2>"));
  }
  // nothing is loaded from anywhere
  EXPECT_THAT(
      page, AllOf(Not(HasSubstr("src=\"http")), Not(HasSubstr("<script")), Not(HasSubstr("<link")),
                  Not(HasSubstr("url(")), Not(HasSubstr("@import"))));
  EXPECT_THAT(page, HasSubstr("src=\"data:image/png;base64,iVBORw0KGgogYW5kIG1vcmU=\""));
  EXPECT_THAT(page, HasSubstr("damaged &lt;&amp;&gt;/metrics.jsonl: expected a readable file"));
  EXPECT_THAT(page, HasSubstr("ReBRAC"));
  // of 2 tasks 4 figures over context, and at 2 contexts a learning curve and the score over
  // updates and over time; one task's targets at 2, 2 profiles, 3 of improvement
  EXPECT_EQ(CountOf(page, "src=\"data:image/svg+xml;base64,"), 2 * 4 + 2 * 2 * 3 + 2 + 2 + 3);
  const json report = json::parse(Output(runs_ + " --json"));
  const std::string csv = ReadBytes(folder_ + "/r.csv");
  for (const json& cell : report["cells"]) {
    char score[32];
    std::snprintf(score, sizeof score, "<td>%.2f</td>", cell["score"].get<double>());
    EXPECT_THAT(page, HasSubstr(score));
    const std::string digits = cell["score"].dump();
    EXPECT_THAT(csv, HasSubstr("," + digits + "\n"));
  }
  EXPECT_EQ(CountOf(csv, "\n"), 21);
  EXPECT_EQ(CountOf(ReadBytes(folder_ + "/r-summary.csv"), "\n"), 11);
}

TEST_F(ReportCommandTest, WritesTheSameReportOfTheSameRuns) {
  Write("a", MadeUpResult("cosformer", 20, 0, 41));
  Write("b", MadeUpResult("softmax", 20, 0, 40));
  Output(runs_ + " --out " + folder_ + "/1.html");
  Output(runs_ + " --out " + folder_ + "/2.html");
  EXPECT_EQ(ReadBytes(folder_ + "/1.html"), ReadBytes(folder_ + "/2.html"));
  EXPECT_THAT(ReadBytes(folder_ + "/1.html"), Not(IsEmpty()));
}

TEST_F(ReportCommandTest, NamesThatGnuplotCouldReadAsCommandsDrawAsText) {
  json result = MadeUpResult(
      "x'\nsystem('touch " + folder_ + "/harm')\n#`touch " + folder_ + "/harm`", 20, 0, 41);
  result["score_name"] = "100 % of \"<b>\" & 'it'";
  Write("a", result);
  Output(runs_ + " --out " + folder_ + "/r.html");
  EXPECT_FALSE(std::filesystem::exists(folder_ + "/harm"));
  EXPECT_EQ(XmlFault(ReadBytes(folder_ + "/r.html")), "");
}

TEST_F(ReportCommandTest, NamesDamagedRunsOnStandardError) {
  Write("a", MadeUpResult("cosformer", 20, 0, 41));
  Write("b", json::object());
  const ProgramResult result = RunProgram("report " + runs_ + " 2>&1 >/dev/null");
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.output, "cosdt: left out: " + runs_ +
                               "/b/result.json: dataset: expected a value, found none\n");
}

TEST_F(ReportCommandTest, NamesInJsonWhatIsLeftOut) {
  Write("a \xff", MadeUpResult("cosformer", 20, 0, 41));
  std::filesystem::create_symlink("/nowhere", runs_ + "/old \xff");
  const json report = json::parse(Output("'" + runs_ + "' --json"));
  EXPECT_EQ(report["cells"][0]["folder"], runs_ + "/a \xef\xbf\xbd");
  EXPECT_EQ(report["left_out"], json({runs_ + "/old \xef\xbf\xbd: expected a link to a folder, "
                                              "found one that leads nowhere"}));
  Output("'" + runs_ + "' --out " + folder_ + "/r.html");
  EXPECT_EQ(XmlFault(ReadBytes(folder_ + "/r.html")), "");
  EXPECT_THAT(ReadBytes(folder_ + "/r.html"), Not(HasSubstr("\xff")));
}

TEST_F(ReportCommandTest, ErrorsAreOneLine) {
  const auto error = [](const std::string& text) { return "cosdt: error: " + text + "\n"; };
  EXPECT_EQ(Output(runs_, 1),
            error(runs_ + ": expected at least one run with a result, found none"));
  EXPECT_EQ(Output(folder_ + "/none", 1),
            error(folder_ + "/none: expected a folder with runs, found none"));
  Write("a", MadeUpResult("cosformer", 20, 0, 41));
  EXPECT_EQ(Output(runs_ + " --out " + folder_ + "/none/r.html", 1),
            error(folder_ + "/none/r.html: writing failed: No such file or directory"));
  Output(runs_ + " --out report.pdf", 2);
  Output("", 2);
  json other = MadeUpResult("cosformer", 20, 1, 41);
  other["physics"] = "gymnasium-v5";
  Write("b", other);
  EXPECT_EQ(Output(runs_, 1),
            error(runs_ + "/b: expected physics d4rl as in " + runs_ + "/a, found gymnasium-v5"));
}

TEST_F(ReportCommandTest, AFullDiskLeavesTheOldReport) {
  Write("a", MadeUpResult("cosformer", 20, 0, 41));
  const std::string out = folder_ + "/r.html";
  std::ofstream(out) << "old";
  // the temporary file is named for the process, which the shell becomes
  const ProgramResult report = RunProgram("report " + runs_ + " --out " + out + " 2>&1",
                                          "ln -s /dev/full " + out + ".$$.tmp; exec");
  EXPECT_EQ(report.exit_code, 1);
  EXPECT_EQ(report.output, "cosdt: error: " + out + ": writing failed: No space left on device\n");
  EXPECT_EQ(ReadBytes(out), "old");
  EXPECT_FALSE(std::filesystem::exists(folder_ + "/r.csv"));
}

TEST_F(ReportCommandTest, NeedsGnuplotForAPageAlone) {
  Write("a", MadeUpResult("cosformer", 20, 0, 41));
  const std::string nowhere = "PATH=" + folder_;
  const ProgramResult page =
      RunProgram("report " + runs_ + " --out " + folder_ + "/r.html 2>&1", nowhere);
  EXPECT_EQ(page.exit_code, 1);
  EXPECT_THAT(page.output,
              HasSubstr("expected the program gnuplot (package gnuplot-nox), found: No"));
  EXPECT_FALSE(std::filesystem::exists(folder_ + "/r.html"));
  EXPECT_EQ(RunProgram("report " + runs_ + " >/dev/null 2>&1", nowhere).exit_code, 0);
}

}  // namespace
}  // namespace cosdt::experiments
