#include "envs/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>
#include <vector>

namespace cosdt::envs {
namespace {

TEST(ThreadPoolTest, CallsEachIndexOnce) {
  for (const int threads : {1, 2, 8}) {
    ThreadPool pool(threads);
    EXPECT_EQ(pool.threads(), threads);
    for (int loop = 0; loop < 200; ++loop) {
      std::vector<std::atomic<int>> calls(loop);
      pool.ForEach(loop, [&](int i) { ++calls[i]; });
      for (const auto& count : calls) ASSERT_EQ(count, 1);
    }
  }
}

TEST(ThreadPoolTest, ThrowsWhatABodyThrowsAndGoesOn) {
  ThreadPool pool(4);
  std::atomic<int> calls = 0;
  EXPECT_THROW(pool.ForEach(100,
                            [&](int i) {
                              ++calls;
                              if (i == 13) throw std::runtime_error("13");
                            }),
               std::runtime_error);
  EXPECT_EQ(calls, 100);
  pool.ForEach(10, [&](int) { ++calls; });
  EXPECT_EQ(calls, 110);
}

TEST(ThreadPoolTest, RefusesNoThreads) { EXPECT_THROW(ThreadPool(0), std::invalid_argument); }

}  // namespace
}  // namespace cosdt::envs
