#include "experiments/program/child_process.h"

#include <ATen/Parallel.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <stdexcept>
#include <thread>
#include <vector>

namespace cosdt::experiments {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::MatchesRegex;

std::string Message(const std::function<json()>& work) {
  const StopSignal stop;
  try {
    RunInChild(work, stop);
  } catch (const std::exception& e) {
    return e.what();
  }
  return "nothing was thrown";
}

TEST(ChildProcessTest, GivesItsResult) {
  const StopSignal stop;
  const json result = RunInChild(
      [] { return json{{"pid", getpid()}, {"text", std::string(1'000'000, 'x')}}; }, stop);
  EXPECT_NE(result["pid"], getpid());
  EXPECT_EQ(result["text"].get<std::string>().size(), 1'000'000u);
}

TEST(ChildProcessTest, FailuresOfAllKindsAreErrors) {
  EXPECT_EQ(Message([]() -> json { throw std::invalid_argument("no such thing"); }),
            "no such thing");
  EXPECT_THAT(Message([]() -> json {
                raise(SIGKILL);
                return {};
              }),
              HasSubstr("signal 9 (is memory short?)"));
  EXPECT_THAT(Message([]() -> json { _exit(0); }), HasSubstr("without a result"));
}

TEST(ChildProcessTest, AStopIsPassedOn) {
  const StopSignal stop;
  const json result = RunInChild(
      [&] {
        kill(getppid(), SIGTERM);
        for (int i = 0; i < 1000 && stop.received() == 0; ++i) {
          std::this_thread::sleep_for(std::chrono::milliseconds(10));
        }
        return json(stop.received());
      },
      stop);
  EXPECT_EQ(result, SIGUSR1);
}

void RunOnTwoThreads() {
  at::set_num_threads(2);
  std::atomic<int> pieces = 0;
  at::parallel_for(0, 2, 1, [&](int64_t, int64_t) { ++pieces; });
  if (pieces != 2) throw std::runtime_error("one thread did it all");
}

TEST(ChildProcessTest, AChildHasThreadsAndAParentHasNone) {
  const auto two = [] {
    RunOnTwoThreads();
    return json("done");
  };
  EXPECT_EQ(RunInChild(two, StopSignal()), "done");
  EXPECT_EQ(RunInChild(two, StopSignal()), "done");
  // OpenMP keeps the second thread, for which the loop of a forked child would wait
  EXPECT_THAT(Message([&] {
                RunOnTwoThreads();
                return RunInChild(two, StopSignal());
              }),
              MatchesRegex("fork: expected a process with one thread, found [0-9]+"));
}

TEST(ChildProcessTest, ThreadsThatHaveEndedAreNoHindrance) {
  for (int i = 0; i < 20; ++i) {
    std::thread([] {}).join();
    EXPECT_EQ(RunInChild([] { return json(1); }, StopSignal()), 1);
  }
}

TEST(PeakMemoryTest, CountsWhatIsHeldAtOnce) {
  constexpr size_t kBytes = 64 << 20;
  {
    const std::vector<char> before(4 * kBytes, 1);
  }
  const PeakMemory peak;
  {
    const std::vector<char> held(kBytes, 1);
  }
  const auto bytes = static_cast<size_t>(peak.bytes().value());
  EXPECT_GE(bytes, kBytes / 2);
  EXPECT_LT(bytes, 2 * kBytes);
}

TEST(PeakMemoryTest, IsUnknownWhereItCannotBeReset) {
  EXPECT_FALSE(PeakMemory("/nowhere/clear_refs").bytes().has_value());
  EXPECT_FALSE(PeakMemory("/dev/full").bytes().has_value());
}

}  // namespace
}  // namespace cosdt::experiments
