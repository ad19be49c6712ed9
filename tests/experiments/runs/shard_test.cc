#include "experiments/runs/shard.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <stdexcept>
#include <tuple>

namespace cosdt::experiments {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::string ShardMessage(const std::function<void()>& call) {
  try {
    call();
  } catch (const std::invalid_argument& e) {
    return e.what();
  }
  return "";
}

TEST(ShardTest, IsReadFromTextAndFromTheEnvironment) {
  const Shard shard = ParseShard("2/8");
  EXPECT_EQ(shard.index, 2);
  EXPECT_EQ(shard.count, 8);
  for (const char* bad : {"", "2", "8/8", "-1/8", "1/8x", "/8", "1/"}) {
    EXPECT_THAT(ShardMessage([&] { ParseShard(bad); }), HasSubstr("shard: expected I/N")) << bad;
  }
  using Variables = std::map<std::string, std::string>;
  const auto from = [](const Variables& variables) {
    const Shard s = ShardFromEnvironment([&](const char* name) -> const char* {
      const auto found = variables.find(name);
      return found == variables.end() ? nullptr : found->second.c_str();
    });
    return std::tuple(s.index, s.count, s.source);
  };
  const auto shard_of = [](int64_t index, int64_t count, const std::string& source) {
    return std::tuple(index, count, source);
  };
  EXPECT_EQ(from({}), shard_of(0, 1, ""));
  EXPECT_EQ(from({{"SLURM_ARRAY_TASK_ID", "7"},
                  {"SLURM_ARRAY_TASK_MIN", "5"},
                  {"SLURM_ARRAY_TASK_COUNT", "4"},
                  {"SLURM_PROCID", "0"},
                  {"SLURM_NTASKS", "1"}}),
            shard_of(2, 4, "Slurm's array"));
  EXPECT_EQ(from({{"OMPI_COMM_WORLD_RANK", "3"}, {"OMPI_COMM_WORLD_SIZE", "4"}}),
            shard_of(3, 4, "Open MPI's ranks"));
  EXPECT_EQ(from({{"PMI_RANK", "1"}, {"PMI_SIZE", "2"}}), shard_of(1, 2, "MPI's ranks"));
  EXPECT_EQ(from({{"SLURM_PROCID", "1"}, {"SLURM_STEP_NUM_TASKS", "2"}}),
            shard_of(1, 2, "Slurm's tasks"));
  EXPECT_THAT(ShardMessage([&] {
                from({{"SLURM_ARRAY_TASK_ID", "20"},
                      {"SLURM_ARRAY_TASK_MIN", "0"},
                      {"SLURM_ARRAY_TASK_COUNT", "3"}});
              }),
              HasSubstr("expected an array without gaps"));
}

TEST(ShardTest, CellsAreDealtByTheirCost) {
  const std::vector<double> costs = {1, 8, 3, 5, 2, 1};
  EXPECT_THAT(Deal({0, 2}, costs), ElementsAre(1, 4));
  EXPECT_THAT(Deal({1, 2}, costs), ElementsAre(0, 2, 3, 5));
  EXPECT_THAT(Deal({0, 1}, costs), ElementsAre(0, 1, 2, 3, 4, 5));
  EXPECT_THAT(Deal({6, 7}, costs), ElementsAre());
}

TEST(ShardTest, EveryCellIsDealtOnceAndLoadsAreNearlyEven) {
  std::vector<double> costs;
  for (int i = 0; i < 60; ++i) costs.push_back(1 + i % 7 * 5 + i % 3);
  for (const int64_t count : {2, 5, 16}) {
    std::vector<int> dealt(costs.size());
    double least = 1e9, most = 0;
    for (int64_t i = 0; i < count; ++i) {
      double load = 0;
      for (const size_t cell : Deal({i, count}, costs)) {
        ++dealt[cell];
        load += costs[cell];
      }
      least = std::min(least, load);
      most = std::max(most, load);
    }
    EXPECT_THAT(dealt, testing::Each(1));
    EXPECT_LE(most - least, 33) << count;  // the dearest cell
  }
}

TEST(ShardTest, ExpectedCostsRiseWithWhatCosts) {
  TrainOptions options;
  options.updates = 1000;
  const double base = ExpectedCost(options);
  const auto with = [&](auto change) {
    TrainOptions changed = options;
    change(changed);
    return ExpectedCost(changed) / base;
  };
  EXPECT_NEAR(with([](auto& o) { o.updates = 10'000; }), 10, 3);
  EXPECT_NEAR(with([](auto& o) { o.agent.dt.tokens = 1; }), 1 / 3.0, 0.1);
  EXPECT_NEAR(with([](auto& o) { o.agent.dt.context = 100; }), 5.5, 1.5);
  EXPECT_LT(with([](auto& o) { o.agent.kind = "bc"; }), 0.2);
  const auto long_context = [&](const std::string& kind) {
    return with([&](auto& o) {
      o.agent.dt.context = 1000;
      o.agent.dt.attention.kind = kind;
    });
  };
  EXPECT_GT(long_context("softmax"), 1.5 * long_context("cosformer"));
}

}  // namespace
}  // namespace cosdt::experiments
