#include "agents/training/update_ops.h"

#include <gtest/gtest.h>

#include "tests/threads.h"

namespace cosdt::agents {
namespace {

using torch::Tensor;

TEST(UpdateOpsTest, AddNormOnTheCpuTakesThreadsAndKeepsItsBits) {
  const Tensor x = torch::randn({600, 32}), update = torch::randn({600, 32}),
               inputs = torch::zeros({2, 8}, torch::kInt64), gamma = torch::randn({32}),
               beta = torch::randn({32});
  const auto run = [&] {
    const Tensor sum = torch::empty_like(x), statistics = torch::empty({2, 600}),
                 y = torch::empty_like(x);
    update_ops::AddNormForward(x, update, inputs, 0, 0, gamma, beta, 1e-5, sum, statistics, y);
    return torch::cat({sum.flatten(), statistics.flatten(), y.flatten()});
  };
  EXPECT_EQ(ThreadsBegun(2, run), 1u);
  EXPECT_TRUE(torch::equal(OnThreads(1, run), OnThreads(2, run)));
}

}  // namespace
}  // namespace cosdt::agents
