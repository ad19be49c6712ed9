#include "attention/parallel.h"

#include <gtest/gtest.h>
#include <omp.h>

#include <atomic>
#include <set>
#include <string>

#include "tests/threads.h"

namespace cosdt::attention {
namespace {

TEST(ParallelTest, ALoopHasAsManyThreadsAsLibTorch) {
  for (const int threads : {1, 2, 3}) {
    std::atomic<int> pieces = 0;
    const auto loop = [&] {
      at::parallel_for(0, 12, 1, [&](int64_t begin, int64_t end) {
        EXPECT_EQ(end - begin, 12 / threads);
        ++pieces;
      });
    };
    OnThreads(threads, loop);
    EXPECT_EQ(pieces, threads);
  }
  EXPECT_EQ(ThreadsBegun(3, [] {}), 0u);
  EXPECT_EQ(ThreadsBegun(1, [] { at::parallel_for(0, 12, 1, [](int64_t, int64_t) {}); }), 0u);
  EXPECT_EQ(ThreadsBegun(3, [] { at::parallel_for(0, 12, 1, [](int64_t, int64_t) {}); }), 2u);
}

// With another one, at::set_num_threads would not affect our loops.
TEST(ParallelTest, TheOpenMPRuntimeIsLibTorchs) {
  for (const int threads : {2, 5}) {
    EXPECT_EQ(OnThreads(threads, [] { return omp_get_max_threads(); }), threads);
  }
}

}  // namespace
}  // namespace cosdt::attention
