#include "agents/processes/process_group.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>

#include "tests/agents/processes/run_group.h"
#include "tests/agents/processes/store_sum.h"

// LibTorch's recorder of collectives loses an event if ranks that are threads of one process make
// their first at the same time.
extern "C" const char* __lsan_default_suppressions() { return "leak:c10d::FlightRecorder"; }

namespace cosdt::agents {
namespace {

using namespace std::chrono_literals;
using namespace std::string_literals;
using testing::AllOf;
using testing::Each;
using testing::HasSubstr;
using testing::MatchesRegex;
using testing::StartsWith;

std::string Error(const ProcessPlace& place) {
  try {
    ProcessGroup(place, 1s);
  } catch (const std::exception& e) {
    return e.what();
  }
  return "nothing was thrown";
}

TEST(ProcessGroupTest, AllGetTheSumAndRankZerosAndEachOthersValues) {
  for (const int size : {2, 3, 5}) {
    const std::vector<std::string> errors = RunGroup(size, [&](ProcessGroup& group) {
      const torch::Tensor values = torch::full({1000}, std::exp2(group.rank()));
      group.Sum(values);
      EXPECT_TRUE(values.eq(std::exp2(size) - 1).all().item<bool>());
      // rounding depends on the order of a sum: all get one order's
      const torch::Tensor thirds = torch::full({777}, 0.1f / static_cast<float>(group.rank() + 3));
      group.Sum(thirds);
      group.ExpectSame(
          "bits", group.Gather({static_cast<const char*>(thirds.data_ptr()), thirds.nbytes()})[0]);
      const torch::Tensor first = torch::full({3}, group.rank() + 7, torch::kInt64);
      group.Broadcast(first);
      EXPECT_EQ(first[2].item<int64_t>(), 7);
      EXPECT_EQ(group.Broadcast(std::string(group.rank(), 'x')), "");
      EXPECT_EQ(group.Broadcast(group.is_first() ? "text\0"s : ""s), "text\0"s);
      const std::vector<std::string> all =
          group.Gather(std::string(static_cast<size_t>(group.rank()), 'a'));
      for (int rank = 0; rank < size; ++rank) {
        EXPECT_EQ(all[static_cast<size_t>(rank)], std::string(static_cast<size_t>(rank), 'a'));
      }
      EXPECT_TRUE(group.Any(group.rank() == size - 1));
      EXPECT_FALSE(group.Any(false));
      group.Finish();
    });
    EXPECT_THAT(errors, Each(""));
  }
}

TEST(ProcessGroupTest, SharesCoverAllOnce) {
  EXPECT_THAT(RunGroup(3,
                       [](ProcessGroup& group) {
                         for (const int64_t count : {3, 64, 100}) {
                           const ProcessGroup::Share share = group.ShareOf(count);
                           const torch::Tensor taken = torch::zeros({count}, torch::kInt64);
                           taken.narrow(0, share.first, share.count) += 1;
                           EXPECT_GE(share.count, count / 3);
                           EXPECT_LE(share.count, count / 3 + 1);
                           group.Sum(taken);
                           EXPECT_TRUE(taken.eq(1).all().item<bool>());
                         }
                         group.Finish();
                       }),
              Each(""));
}

TEST(ProcessGroupTest, DifferentValuesAreNamedWithTheirRank) {
  const auto errors = RunGroup(3, [](ProcessGroup& group) {
    group.ExpectSame("same", "1\n2\n");
    group.ExpectSame("options", group.rank() == 2 ? "a = 1\nseed = 7\n" : "a = 1\nseed = 5\n");
  });
  EXPECT_THAT(errors, Each(AllOf(StartsWith("options: expected 'seed = 5', as rank 0 of 3 (proc"),
                                 HasSubstr("has, found 'seed = 7' of rank 2 of 3 (process "))));
}

TEST(ProcessGroupTest, AProcessThatEndsIsNamedByAllOthers) {
  for (const int lost : {1, 2}) {
    const auto errors = RunGroup(3, [&](ProcessGroup& group) {
      if (group.rank() == lost) throw std::runtime_error("gone");
      for (;;) group.Any(false);
    });
    for (int rank = 0; rank < 3; ++rank) {
      const std::string& error = errors[static_cast<size_t>(rank)];
      if (rank == lost) {
        EXPECT_EQ(error, "gone");
      } else {
        EXPECT_THAT(error, AllOf(StartsWith("rank " + std::to_string(lost) + " of 3"),
                                 HasSubstr("ended or does not answer")));
      }
    }
  }
}

TEST(ProcessGroupTest, SumsOnADeviceAreThoseOfAll) {
  const WithStoreSum emulation;
  StoreSum::sums = StoreSum::aborts = 0;
  const auto errors = RunGroup(3, [](ProcessGroup& group) {
    EXPECT_EQ(group.local_rank(), group.rank());
    group.UseDevice(torch::kCPU);
    group.UseDevice(torch::kCPU);
    const torch::Tensor values = torch::full({100}, std::exp2(group.rank()));
    group.Sum(values);
    EXPECT_TRUE(values.eq(7).all().item<bool>());
    group.Finish();
  });
  EXPECT_THAT(errors, Each(""));
  EXPECT_EQ(StoreSum::sums, 6);  // Finish is one
  EXPECT_EQ(StoreSum::aborts, 3);
}

TEST(ProcessGroupTest, AProcessThatEndsBreaksOffTheOthersSumsOnADevice) {
  const WithStoreSum emulation;
  StoreSum::aborts = 0;
  const auto errors = RunGroup(3, [](ProcessGroup& group) {
    group.UseDevice(torch::kCPU);
    try {
      if (group.rank() == 1) throw std::runtime_error("no memory");
      group.Sum(torch::zeros({3}));
    } catch (const std::exception& e) {
      group.Fail(e.what());
      throw;
    }
  });
  EXPECT_THAT(errors, Each("no memory"));
  EXPECT_EQ(StoreSum::aborts, 3);
}

TEST(ProcessGroupTest, SumsOnADeviceNeedABuildWithThem) {
  const DeviceBackendFactory before = SetDeviceBackendFactory(nullptr);
  const auto errors = RunGroup(2, [](ProcessGroup& group) { group.UseDevice(torch::kCPU); });
  SetDeviceBackendFactory(before);
  EXPECT_THAT(errors,
              Each(StartsWith("processes: expected a build with NCCL for several on GPUs")));
}

TEST(ProcessGroupTest, SlowAProcessThatHangsInAComputationIsNamedByAllOthers) {
  for (const int lost : {0, 2}) {
    std::atomic<int> ended = 0, printed = 0;
    const auto errors = RunGroup(
        3,
        [&](ProcessGroup& group) {
          const ProcessGroup::Computation computation(&group);
          try {
            group.Any(false);
            while (group.rank() == lost && ended < 2) std::this_thread::sleep_for(10ms);
            group.Any(false);
          } catch (const std::exception& e) {
            printed += group.Fail(e.what(), true);
            ++ended;
            throw;
          }
        },
        nullptr, 3s);
    EXPECT_EQ(printed, 1);
    for (int rank = 0; rank < 3; ++rank) {
      if (rank == lost) continue;
      EXPECT_THAT(errors[static_cast<size_t>(rank)],
                  MatchesRegex("rank " + std::to_string(lost) +
                               " of 3 .process .*. stands still: no progress for [0-9]+ s"));
    }
  }
}

TEST(ProcessGroupTest, SlowAProcessThatGetsOnIsWaitedFor) {
  const auto wait = [](const ProcessGroup& group, std::chrono::seconds time) {
    if (group.rank() == 1) std::this_thread::sleep_for(time);
  };
  const auto errors = RunGroup(
      2,
      [&](ProcessGroup& group) {
        {
          const ProcessGroup::Computation computation(&group);
          group.Any(false);
        }
        wait(group, 8s);  // no computation
        {
          const ProcessGroup::Computation computation(&group);
          for (int i = 0; i < 5; ++i) {
            wait(group, 2s);
            group.Progress();
          }
          wait(group, 6s);  // four times the longest are allowed
        }
        group.Finish();
      },
      nullptr, 3s);
  EXPECT_THAT(errors, Each(""));
}

TEST(ProcessGroupTest, SlowTheFirstComputationHasAllTheTimeItTakes) {
  const auto errors = RunGroup(
      2,
      [](ProcessGroup& group) {
        const ProcessGroup::Computation computation(&group);
        if (group.rank() == 1) std::this_thread::sleep_for(8s);
        group.Finish();
      },
      nullptr, 3s);
  EXPECT_THAT(errors, Each(""));
}

TEST(ProcessGroupTest, AFailureIsToldToAllAndPrintedByOne) {
  std::atomic<int> printed = 0;
  const auto errors = RunGroup(3, [&](ProcessGroup& group) {
    try {
      if (group.rank() == 1) throw std::runtime_error("data.hdf5: no such file");
      for (;;) group.Any(false);
    } catch (const std::exception& e) {
      if (group.Fail(group.Name() + ": " + e.what())) ++printed;
      throw;
    }
  });
  EXPECT_EQ(printed, 1);
  for (const size_t rank : {0, 2}) {
    EXPECT_THAT(errors[rank], AllOf(StartsWith("rank 1 of 3 (process "),
                                    HasSubstr("): data.hdf5: no such file")));
  }
}

TEST(ProcessGroupTest, ProcessesThatDoNotMeetAreNamed) {
  const Listener taken;
  EXPECT_EQ(Error({.rank = 0, .size = 2, .address = "127.0.0.1", .port = taken.port}),
            "MASTER_PORT: expected a free port, found " + std::to_string(taken.port) + " in use");
  int port = 0;
  {
    const Listener closed;
    port = closed.port;
    close(closed.socket);
  }
  const std::string place = "127.0.0.1:" + std::to_string(port) + ": ";
  EXPECT_THAT(Error({.rank = 1, .size = 2, .address = "127.0.0.1", .port = port}),
              StartsWith(place + "expected the store of rank 0 to answer within 1 s, found none"));
  EXPECT_EQ(Error({.rank = 0, .size = 3, .address = "127.0.0.1", .port = port}),
            place + "expected 3 processes within 1 s, found none of rank 1 2");
  const auto nothing = [](ProcessGroup&) {};
  const auto errors =
      RunGroup(2, nothing, [](ProcessPlace& place_of) { place_of.size += place_of.rank; });
  EXPECT_THAT(errors, testing::Contains(testing::ContainsRegex(
                          "WORLD_SIZE: expected [23], as another process has, found [23]")));
  EXPECT_THAT(RunGroup(3, nothing,
                       [](ProcessPlace& place_of) { place_of.rank = std::min(place_of.rank, 1); }),
              testing::Contains("RANK: expected one process of each rank, found two of rank 1"));
}

}  // namespace
}  // namespace cosdt::agents
