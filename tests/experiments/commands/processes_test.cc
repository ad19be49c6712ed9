// Commands on several processes. COSDT_KILLS says how often a process is killed (the slow test:
// 30).
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <random>
#include <set>
#include <thread>

#include "tests/experiments/commands/train_runs.h"
#include "tests/read_bytes.h"

namespace cosdt {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using nlohmann::json;
using testing::AllOf;
using testing::ContainsRegex;
using testing::HasSubstr;
using testing::MatchesRegex;
using Clock = std::chrono::steady_clock;

int FreePort() {
  const int s = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  socklen_t size = sizeof address;
  bind(s, reinterpret_cast<sockaddr*>(&address), size);
  getsockname(s, reinterpret_cast<sockaddr*>(&address), &size);
  close(s);
  return ntohs(address.sin_port);
}

int Count(const std::string& text, const std::string& part) {
  int count = 0;
  for (size_t at = 0; (at = text.find(part, at)) != std::string::npos; ++at) ++count;
  return count;
}

int Lines(const std::string& text) { return Count(text, "\n"); }

class ProcessesTest : public TrainTest {
 protected:
  // The variables of torchrun for one of `size` processes.
  static std::string Place(int rank, int size, int port) {
    return "MASTER_ADDR=127.0.0.1 MASTER_PORT=" + std::to_string(port) +
           " RANK=" + std::to_string(rank) + " WORLD_SIZE=" + std::to_string(size) + " ";
  }

  // A line of shell that trains, in the background, with variables before it.
  std::string Start(const std::string& variables, const std::string& out,
                    const std::string& rest) const {
    const std::string data = rest.find("--dataset") == std::string::npos ? data_ : "";
    return variables + " '" COSDT_PROGRAM "' train " + (data.empty() ? "" : "--dataset " + data) +
           " --out " + Out(out).string() +
           " --threads 1 --width 16 --layers 2 --context 4 --batch-size 4 --warmup 10 " + rest +
           " & ";
  }

  std::string Weights(const std::string& run) const {
    return ReadBytes(Out(run + "/last.safetensors"));
  }
};

TEST_F(ProcessesTest, TwoAndThreeTrainWhatOneDoesToRoundingAndAnyNumberResumes) {
  const std::string options = "--updates 100 --save-every 40 --json ";
  const auto loss = [](const ProgramResult& result) {
    EXPECT_EQ(result.exit_code, 0) << result.output;
    return json::parse(result.output)["loss"].get<double>();
  };
  const double alone = loss(Train("alone", options));
  EXPECT_NEAR(loss(Train("two", options + "--processes 2")), alone, 1e-5 * alone);
  EXPECT_NEAR(loss(Train("three", options + "--processes 3")), alone, 1e-5 * alone);
  EXPECT_EQ(loss(Train("again", options + "--processes 2")),
            loss(Train("two", options + "--processes 2 --resume")));
  EXPECT_EQ(Weights("again"), Weights("two"));
  EXPECT_EQ(Weights("again").size(), Weights("alone").size());
  // another number goes on where this one was
  const std::string longer = "--updates 140 --resume --json --processes ";
  EXPECT_EQ(Train("three", longer + "1").exit_code, 0);
  EXPECT_EQ(Train("alone", longer + "3").exit_code, 0);
  EXPECT_NEAR(loss(Train("three", longer + "2")), loss(Train("alone", longer + "2")), 1e-4);
  EXPECT_EQ(Lines(ReadBytes(Out("alone/metrics.jsonl"))), 2);
}

TEST_F(ProcessesTest, SlowAgentsWithCriticsTrainWhatOneProcessDoesToRounding) {
  for (const std::string agent : {"td3bc", "iql"}) {
    const auto train = [&](const std::string& out, const std::string& rest) {
      const ProgramResult result = RunProgram(
          "train --dataset " + data_ + " --out " + Out(agent + out).string() + " --agent " + agent +
          " --threads 1 --width 16 --batch-size 9 --save-every 40 --json " + rest + " 2>/dev/null");
      EXPECT_EQ(result.exit_code, 0) << result.output;
      return json::parse(result.output)["loss"].get<double>();
    };
    const double alone = train("alone", "--updates 100");
    EXPECT_NEAR(train("two", "--updates 100 --processes 2"), alone, 1e-4 * alone);
    // in parts, and on with another number
    train("again", "--updates 60 --processes 2");
    train("again", "--updates 100 --processes 2 --resume");
    EXPECT_EQ(Weights(agent + "again"), Weights(agent + "two"));
    EXPECT_NEAR(train("again", "--updates 120 --processes 3 --resume"),
                train("alone", "--updates 120 --resume"), 1e-4 * alone);
  }
}

TEST_F(ProcessesTest, SlowEvaluationsAreTheSameBytesForAnyNumber) {
  const std::string options = "--updates 4 --eval-every 2 --episodes 3 --targets 3600,auto,900 ";
  ASSERT_EQ(Train("run", options).exit_code, 0);
  const std::string run = Out("run").string();
  const auto same = [](const std::string& command) {
    const ProgramResult one = RunProgram(command + " 2>/dev/null");
    EXPECT_EQ(one.exit_code, 0) << command;
    for (const int processes : {2, 3}) {
      const ProgramResult more =
          RunProgram(command + " --processes " + std::to_string(processes) + " 2>/dev/null");
      EXPECT_EQ(more.exit_code, 0) << command;
      EXPECT_EQ(more.output, one.output) << command;
    }
  };
  same("eval " + run + " --episodes 5 --json");
  same("eval " + run + " --episodes 2 --seeding gym --targets 100,auto");
  same("rollout --env hopper --policy random --episodes 7 --json");
  same("rollout --env halfcheetah --policy zero --episodes 4 --seeding gym --json");
  same("rollout --env hopper --policy random --episodes 1");
  // the evaluations of a run that several train are those of its own weights
  ASSERT_EQ(Train("three", options + "--processes 3 --json").exit_code, 0);
  const ProgramResult again = RunProgram("eval " + Out("three").string() + " --episodes 3 --json");
  std::istringstream lines(ReadBytes(Out("three/evaluations.jsonl")));
  std::vector<json> evaluations;
  for (std::string line; std::getline(lines, line);) evaluations.push_back(json::parse(line));
  ASSERT_EQ(evaluations.size(), 2u);
  EXPECT_EQ(evaluations[1]["targets"][2]["returns"],
            json::parse(again.output)["targets"][2]["returns"]);
}

TEST_F(ProcessesTest, SlowCollectedDataAreTheSameBytesForAnyNumber) {
  const auto collect = [&](const std::string& out, const std::string& rest) {
    EXPECT_EQ(RunProgram("data collect --env hopper --policy demo/hopper-medium=0.5 --policy "
                         "random=0.5 --out " +
                         Out(out).string() + " " + rest + " >/dev/null 2>&1")
                  .exit_code,
              0)
        << rest;
    return ReadBytes(Out(out));
  };
  for (const std::string rows : {"--transitions 1 ", "--transitions 2345 "}) {
    const std::string one = collect("1.hdf5", rows);
    EXPECT_EQ(collect("2.hdf5", rows + "--processes 2"), one) << rows;
    EXPECT_EQ(collect("3.hdf5", rows + "--processes 3"), one) << rows;
  }
}

TEST_F(ProcessesTest, LaunchersVariablesMakeAGroup) {
  const std::string options = "--updates 6 --json ";
  ASSERT_EQ(Train("here", options + "--processes 2").exit_code, 0);
  const std::string port = "MASTER_PORT=" + std::to_string(FreePort());
  const std::string of_job =
      "SLURM_NTASKS=2 SLURM_STEP_NODELIST=127.0.0.1 SLURM_JOB_ID=" + std::to_string(getpid()) +
      " SLURM_PROCID=";
  const std::string of_mpi =
      port + " OMPI_COMM_WORLD_SIZE=2 OMPI_COMM_WORLD_LOCAL_SIZE=2 OMPI_COMM_WORLD_RANK=";
  int number = 0;
  for (const auto& [first, second] : {std::pair{Place(0, 2, FreePort()), std::string()},
                                      {of_job + "0", of_job + "1"},
                                      {of_mpi + "0", of_mpi + "1"}}) {
    const std::string other =
        second.empty() ? first.substr(0, first.find("RANK=0")) + "RANK=1 WORLD_SIZE=2" : second;
    const std::string out = "out-" + std::to_string(number++);
    const std::string script = Start(first, out, options + ">/dev/null 2>&1") + "a=$!; " +
                               Start(other, out, options + ">/dev/null 2>&1") +
                               "wait $! && wait $a";
    EXPECT_EQ(std::system(script.c_str()), 0) << first;
    EXPECT_EQ(Weights(out), Weights("here")) << first;
  }
}

TEST_F(ProcessesTest, ProcessesThatDoNotFitTogetherAreRefusedInOneLine) {
  const auto error = [&](const std::string& first, const std::string& second) {
    const int port = FreePort();
    const std::string log = Out("log").string();
    const std::string script = "{ " + Start(Place(0, 2, port), "odd", first) +
                               Start(Place(1, 2, port), "odd", second) + "wait; } >" + log +
                               " 2>&1";
    EXPECT_EQ(std::system(script.c_str()), 0);
    const std::string text = ReadBytes(log);
    EXPECT_EQ(Lines(text), 1) << text;
    return text;
  };
  EXPECT_THAT(error("--lr 0.001", "--lr 0.002"),
              AllOf(HasSubstr("options: expected 'lr = 0.001', as rank 0 of 2 (process "),
                    HasSubstr("has, found 'lr = 0.002' of rank 1 of 2 (process ")));
  ASSERT_EQ(
      RunProgram("data collect --env hopper --policy random --seed 2 --transitions 500 --out " +
                 Out("other.hdf5").string())
          .exit_code,
      0);
  EXPECT_THAT(error("", "--dataset " + Out("other.hdf5").string()),
              HasSubstr("dataset's SHA-256: expected '"));
  EXPECT_THAT(error("", "--dataset " + Out("none.hdf5").string()),
              MatchesRegex("cosdt: error: rank 1 of 2 \\(process .*none.hdf5.*\n"));
  EXPECT_FALSE(fs::exists(Out("odd/config.toml")));
  const std::string train = "train --dataset " + data_ + " --out " + Out("x").string() +
                            " --threads 1 --width 16 --layers 2 --context 4 ";
  EXPECT_EQ(RunProgram(train + "2>&1", "WORLD_SIZE=2").output,
            "cosdt: error: RANK: expected a whole number from 0 to 1, found none\n");
  EXPECT_EQ(RunProgram(train + "--processes 2 2>&1", Place(0, 2, FreePort())).output,
            "cosdt: error: processes: expected none, as a launcher has started this one (2), found "
            "2\n");
  EXPECT_THAT(
      RunProgram(train + "--batch-size 2 --processes 3 2>&1 | grep error").output,
      MatchesRegex("cosdt: error: rank . of 3 .*: processes: expected at most 2, the windows "
                   "of a batch, found 3\n"));
}

TEST_F(ProcessesTest, ASignalToAnyProcessSavesAndStopsAll) {
  const std::string options = "--updates 1000000 --save-every 1000000 --resume ";
  int signal_sent = 0;
  for (const int rank : {0, 1, -1}) {  // -1: to the one that starts them
    const std::string out = "signal-" + std::to_string(rank + 1), log = Out("log").string();
    const std::string name = rank < 0 ? "USR1" : "TERM";
    const int port = FreePort();
    const std::string start = rank < 0 ? Start("", out, options + "--processes 2") + "a=$!; b=$a; "
                                       : Start(Place(0, 2, port), out, options) + "a=$!; " +
                                             Start(Place(1, 2, port), out, options) + "b=$!; ";
    const std::string script = "{ " + start + "while [ ! -e " + Out(out + "/config.toml").string() +
                               " ]; do sleep 0.05; done; sleep 0.5; kill -" + name + " " +
                               (rank == 1 ? "$b" : "$a") +
                               "; wait $a; x=$?; wait $b; echo $x $?; } >" + log + " 2>&1";
    EXPECT_EQ(std::system(script.c_str()), 0);
    signal_sent = rank < 0 ? SIGUSR1 : SIGTERM;
    const std::string code = std::to_string(128 + signal_sent);
    EXPECT_THAT(ReadBytes(log), HasSubstr("; --resume continues\n"));
    EXPECT_THAT(ReadBytes(log), testing::EndsWith(code + " " + code + "\n"));
    EXPECT_TRUE(fs::exists(Out(out + "/resume.safetensors")));
  }
}

// Runs two processes, or three, and kills or stops one at a random moment. The others' line.
class LossTest : public ProcessesTest {
 protected:
  // Exit codes and output of those that were left.
  std::string Disturb(const std::string& out, const std::string& options, int size, int lost,
                      const std::string& signal, double seconds) const {
    return Disturb(out, options, size, lost, seconds,
                   [&](const std::string& victim) { return "kill -" + signal + " " + victim; });
  }

  // lose(victim): what the shell does to the victim.
  std::string Disturb(const std::string& out, const std::string& options, int size, int lost,
                      double seconds,
                      const std::function<std::string(const std::string&)>& lose) const {
    const int port = FreePort();
    const std::string log = Out("log").string();
    const std::string seen = Out("seen").string();
    std::string script = "{ touch " + seen + "; sleep 0.1; ";
    for (int rank = 0; rank < size; ++rank) {
      script += Start(Place(rank, size, port), out, options) + "p" + std::to_string(rank) + "=$!; ";
    }
    const std::string victim = "$p" + std::to_string(lost);
    // rank 0 writes the file once all have met
    script += "n=0; while [ ! " + Out(out + "/config.toml").string() + " -nt " + seen +
              " ] && [ $n -lt 600 ]; do sleep 0.05; n=$((n + 1)); done; ";
    script += "sleep " + std::to_string(seconds) + "; " + lose(victim) + "; ";
    for (int rank = 0; rank < size; ++rank) {
      if (rank != lost) script += "wait $p" + std::to_string(rank) + "; echo $?; ";
    }
    script += "kill -9 " + victim + "; } >" + log + " 2>&1; true";
    const Clock::time_point start = Clock::now();
    EXPECT_NE(std::system(script.c_str()), -1);
    EXPECT_LT(Clock::now() - start, 90s);  // a minute, and the start
    return ReadBytes(log);
  }

  void KillManyTimes(int kills) {
    const std::string options = "--updates 400 --save-every 50 --resume ";
    ASSERT_EQ(Train("whole", options + "--processes 2").exit_code, 0);
    std::mt19937 random(7);
    for (int kill = 0; kill < kills; ++kill) {
      const int lost = static_cast<int>(random() % 2);
      const double seconds = std::uniform_real_distribution(0.0, 1.0)(random);
      Disturb("killed", options, 2, lost, "KILL", seconds);
    }
    ASSERT_EQ(Train("killed", options + "--processes 2").exit_code, 0);
    EXPECT_EQ(Weights("killed"), Weights("whole"));
    EXPECT_EQ(ReadBytes(Out("killed/resume.safetensors")),
              ReadBytes(Out("whole/resume.safetensors")));
  }
};

TEST_F(LossTest, AKilledProcessEndsTheOthersWithALineThatNamesItAndTheLastSave) {
  const std::string options = "--updates 1000000 --save-every 1000000 ";
  for (const int lost : {1, 0}) {
    const std::string log = Disturb("lost-" + std::to_string(lost), options, 3, lost, "KILL", 1);
    EXPECT_THAT(log, HasSubstr("cosdt: error: rank " + std::to_string(lost) + " of 3 (process "));
    EXPECT_THAT(log, HasSubstr("ended or does not answer; "));
    EXPECT_THAT(log,
                HasSubstr(lost == 0 ? "no save is known here" : "the last save is of update "));
    // with rank 0 its store has gone, by which they agree on who says so
    EXPECT_EQ(Count(log, "cosdt: error: "), lost == 0 ? 2 : 1) << log;
  }
}

TEST_F(LossTest, SlowRunsThatLoseProcessesOftenEndAsUndisturbedOnes) { KillManyTimes(30); }

TEST_F(LossTest, SlowAProcessThatStandsStillIsLost) {
  const std::string options = "--updates 1000000 --save-every 1000000 ";
  const std::string log = Disturb("stopped", options, 2, 1, "STOP", 1);
  EXPECT_THAT(log, HasSubstr("cosdt: error: rank 1 of 2 (process "));
  EXPECT_THAT(log, HasSubstr("the last save is of update "));
}

enum class Hung { kNoticed, kUnnoticed, kNotAllowed };

// Stops the first thread of a process, as if it hung, and no other one, until the process ends.
Hung HangFirstThread(pid_t process) {
  if (ptrace(PTRACE_SEIZE, process, nullptr, nullptr) != 0) return Hung::kNotAllowed;
  int status = 0;
  if (ptrace(PTRACE_INTERRUPT, process, nullptr, nullptr) != 0) return Hung::kNotAllowed;
  for (int i = 0; i < 1000; ++i) {
    const pid_t ended = waitpid(process, &status, __WALL | WNOHANG);
    if (ended == process && !WIFSTOPPED(status)) return Hung::kNoticed;
    std::this_thread::sleep_for(100ms);
  }
  return Hung::kUnnoticed;
}

TEST_F(LossTest, SlowAProcessThatHangsInAComputationOfItsOwnIsLost) {
  for (const int lost : {1, 0}) {
    std::atomic<Hung> hung = Hung::kUnnoticed;
    std::string log;
    // one in a hundred stops between two computations, where no limit is
    for (int i = 0; i < 3 && hung == Hung::kUnnoticed; ++i) {
      const std::string out = "hung-" + std::to_string(lost) + "-" + std::to_string(i);
      const std::string victim = Out("victim").string();
      fs::remove(victim);
      std::thread tracer([&] {
        pid_t process = 0;
        while (!(std::ifstream(victim) >> process)) std::this_thread::sleep_for(20ms);
        hung = HangFirstThread(process);
        if (hung != Hung::kNoticed) kill(process, SIGKILL);
      });
      log = Disturb(out, "--updates 1000000 --save-every 1000000 ", 2, lost, 1,
                    [&](const std::string& pid) { return "sleep 1; echo " + pid + " >" + victim; });
      tracer.join();
    }
    if (hung == Hung::kNotAllowed) GTEST_SKIP() << "needs ptrace";
    EXPECT_EQ(Count(log, "cosdt: error: "), 1) << log;
    EXPECT_THAT(log, HasSubstr("cosdt: error: rank " + std::to_string(lost) + " of 2 (process "));
    EXPECT_THAT(log, ContainsRegex("[)] stands still: no progress for [0-9]+ s"));
    EXPECT_THAT(log,
                HasSubstr(lost == 0 ? "no save is known here" : "the last save is of update "));
  }
}

TEST_F(ProcessesTest, SlowTwoHostsTrainOverABadCableAndResumeAfterItsEnd) {
  const std::string script = COSDT_SOURCE_DIR "/tests/experiments/commands/two_hosts.sh";
  const int status =
      std::system(("'" + script + "' '" COSDT_PROGRAM "' " + folder_ + " " + data_).c_str());
  if (WEXITSTATUS(status) == 77) GTEST_SKIP() << "needs network namespaces and TAP devices";
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace cosdt
