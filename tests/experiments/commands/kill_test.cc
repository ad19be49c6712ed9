// Whatever is killed at any moment, begun again, and so on, ends with the files of a run that
// nothing disturbed. COSDT_KILLS says how often each command is killed.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <sstream>
#include <thread>

#include "tests/read_bytes.h"

namespace cosdt {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;
using Seconds = std::chrono::duration<double>;
using nlohmann::json;

int Kills() {
  const char* const kills = std::getenv("COSDT_KILLS");
  return kills ? std::stoi(kills) : 5;
}

// A line or object without what a clock or the machine's memory says.
std::string WithoutMeasurements(const std::string& text) {
  json object = json::parse(text, nullptr, false);
  for (const char* name : {"updates_per_second", "ms_per_update", "ms_per_decision",
                           "training_bytes", "rollout_bytes"}) {
    if (object.is_object()) object.erase(name);
  }
  return object.is_discarded() ? text : object.dump();
}

// The files below a folder by name, without locks, TensorBoard's files, which say when, and what a
// killed `data collect` leaves next to its file.
std::map<std::string, std::string> Files(const fs::path& folder) {
  std::map<std::string, std::string> files;
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(folder)) {
    const std::string name = entry.path().filename();
    if (!entry.is_regular_file() || name == "lock" || name.starts_with("events.")) continue;
    if (name.starts_with("collected.hdf5.") && name.ends_with(".tmp")) continue;
    std::string bytes = ReadBytes(entry.path());
    if (name == "result.json") bytes = WithoutMeasurements(bytes);
    if (name == "metrics.jsonl") {
      std::istringstream lines(std::exchange(bytes, ""));
      for (std::string line; std::getline(lines, line);) bytes += WithoutMeasurements(line) + "\n";
    }
    files[fs::relative(entry.path(), folder)] = bytes;
  }
  return files;
}

// Whether something is being saved: a file that gets its name when it is whole.
bool IsSaving(const fs::path& folder) {
  std::error_code error;
  fs::recursive_directory_iterator entry(folder, error);
  for (; !error && entry != fs::recursive_directory_iterator(); entry.increment(error)) {
    if (entry->path().extension() == ".tmp") return true;
  }
  return false;
}

// The program in a process group of its own, silent.
class Process {
 public:
  explicit Process(const std::string& arguments) : group_(fork()) {
    if (group_ != 0) return;
    setpgid(0, 0);
    const std::string command = "exec '" COSDT_PROGRAM "' " + arguments + " >/dev/null 2>&1";
    execl("/bin/sh", "sh", "-c", command.c_str(), nullptr);
    _exit(127);
  }
  ~Process() { Kill(); }
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  bool Ended() {
    if (!ended_ && waitpid(group_, &status_, WNOHANG) == group_) ended_ = true;
    return ended_;
  }
  bool Succeeded() {
    if (!ended_ && waitpid(group_, &status_, 0) == group_) ended_ = true;
    return WIFEXITED(status_) && WEXITSTATUS(status_) == 0;
  }
  // Returns when nothing of the group is left.
  void Kill() {
    if (!ended_) kill(group_, SIGKILL);
    if (!ended_) waitpid(group_, &status_, 0);
    ended_ = true;
    while (waitpid(-group_, nullptr, 0) > 0) {
    }
  }

 private:
  pid_t group_;
  int status_ = 0;
  bool ended_ = false;
};

class KillSlowTest : public testing::Test {
 protected:
  KillSlowTest() {
    fs::remove_all(root_);
    fs::create_directories(root_);
    prctl(PR_SET_CHILD_SUBREAPER, 1);  // to wait for what killed processes have started
    setenv("OMP_NUM_THREADS", "1", 1);
  }
  ~KillSlowTest() override { fs::remove_all(root_); }

  std::string Root(const std::string& name) const { return (root_ / name).string(); }

  // Kills the command, which writes below Root("out"), and compares what its last run leaves with
  // what one that was never killed left there. Half of the kills wait for something being saved.
  void ExpectTheSameEnd(const std::string& arguments) {
    const fs::path out = Root("out");
    fs::create_directories(out);
    const Clock::time_point start = Clock::now();
    ASSERT_TRUE(Process(arguments).Succeeded());
    const Seconds whole = Clock::now() - start;
    const auto expected = Files(out);
    ASSERT_FALSE(expected.empty());
    int killed = 0, in_saving = 0, begun = 0;
    const auto begin_again = [&] {
      EXPECT_TRUE(Files(out) == expected)
          << Differences(expected, Files(out)) << killed << " kills";
      fs::remove_all(out);
      fs::create_directories(out);
      ++begun;
    };
    begin_again();
    while (killed < Kills() && !HasFailure()) {
      Process process(arguments);
      const bool wait_for_save = killed % 2 == 1;
      const Seconds delay(std::uniform_real_distribution<>(0, whole.count())(rng_));
      const Clock::time_point at =
          Clock::now() + std::chrono::duration_cast<Clock::duration>(delay);
      while (Clock::now() < at && !process.Ended()) {
        std::this_thread::sleep_for(std::chrono::microseconds(200));
      }
      while (wait_for_save && !process.Ended() && !IsSaving(out)) {
        std::this_thread::sleep_for(std::chrono::microseconds(50));
      }
      if (wait_for_save) std::this_thread::sleep_for(std::chrono::microseconds(rng_() % 500));
      if (process.Ended()) {
        EXPECT_TRUE(process.Succeeded());
        begin_again();
        continue;
      }
      process.Kill();
      ++killed;
      in_saving += IsSaving(out);
    }
    EXPECT_TRUE(Process(arguments).Succeeded());
    begin_again();
    std::printf("%d kills, %d of them during a save, %d whole runs\n", killed, in_saving, begun);
  }

  fs::path root_ = fs::path(testing::TempDir()) / ("kill_" + std::to_string(getpid()));
  std::mt19937 rng_{1};

 private:
  static std::string Differences(const std::map<std::string, std::string>& expected,
                                 const std::map<std::string, std::string>& found) {
    std::string text;
    for (const auto& [name, bytes] : expected) {
      if (!found.contains(name)) text += name + " is missing, ";
    }
    for (const auto& [name, bytes] : found) {
      if (!expected.contains(name)) text += name + " is too much, ";
      if (expected.contains(name) && expected.at(name) != bytes) text += name + " is another, ";
    }
    return text;
  }
};

TEST_F(KillSlowTest, ARunResumesToTheSameFiles) {
  const std::string data = Root("hopper.hdf5");
  ASSERT_TRUE(Process("data collect --env hopper --policy random --transitions 600 --out " + data)
                  .Succeeded());
  ExpectTheSameEnd("train --dataset " + data + " --out " + Root("out") +
                   " --threads 1 --width 16 --layers 2 --context 4 --batch-size 4 --warmup 10"
                   " --updates 230 --save-every 3 --eval-every 20 --episodes 2 --resume");
}

TEST_F(KillSlowTest, ASweepResumesToTheSameFiles) {
  const std::string data = Root("hopper.hdf5");
  ASSERT_TRUE(Process("data collect --env hopper --policy random --transitions 600 --out " + data)
                  .Succeeded());
  ExpectTheSameEnd("compare --datasets " + data +
                   " --attention cosformer --contexts 2 --baselines bc"
                   " --seeds 0 --updates 30 --save-every 3 --width 16 --layers 1 --batch-size 4"
                   " --warmup 5 --episodes 2 --threads 1 --out " +
                   Root("out"));
}

TEST_F(KillSlowTest, SacResumesToTheSameFiles) {
  ExpectTheSameEnd(
      "behaviour train --env hopper --steps 10060 --save-steps 2000,7000,10020"
      " --resume --out " +
      Root("out") + " --replay " + Root("out/replay.hdf5"));
}

TEST_F(KillSlowTest, ACollectedFileIsWholeOrNotThere) {
  const std::string out = Root("out/collected.hdf5");
  ExpectTheSameEnd("data collect --env hopper --policy random --transitions 30000 --out " + out);
}

}  // namespace
}  // namespace cosdt
