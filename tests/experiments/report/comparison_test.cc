#include "experiments/report/comparison.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/experiments/report/made_up_runs.h"

namespace cosdt::experiments {
namespace {

using ::testing::ElementsAre;
using ::testing::SizeIs;

class ComparisonTest : public MadeUpRunsTest {};

TEST_F(ComparisonTest, ComparesOnTheTasksThatAllKindsHave) {
  for (const int seed : {0, 1}) {
    const std::string at = std::to_string(seed) + "/";
    Write(at + "1", MadeUpResult("cosformer", 20, seed, 30 + seed));
    Write(at + "2", MadeUpResult("softmax", 20, seed, 10 + seed));
    Write(at + "3", MadeUpMaze("cosformer", 20, seed, 90));
    Write(at + "4", MadeUpMaze("cosformer", 50, seed, 100 * seed));
    Write(at + "5", MadeUpCloning(100, seed, 20 + 10.5 * seed));
  }
  const Report report = ReadReport({folder_});
  const std::vector<Comparison> comparisons = CompareAlgorithms(report);
  ASSERT_THAT(comparisons, SizeIs(2));
  EXPECT_EQ(comparisons[0].context, 20);
  EXPECT_THAT(comparisons[0].tasks, ElementsAre(0));  // softmax has no runs of the maze
  ASSERT_THAT(comparisons[0].algorithms, ElementsAre(0, 1, 2));
  EXPECT_EQ(comparisons[0].scores[1], (TaskScores{{10, 11}}));
  EXPECT_THAT(comparisons[1].tasks, ElementsAre(1));
  EXPECT_THAT(comparisons[1].algorithms, ElementsAre(0));
  const std::vector<Improvement> kinds = Improvements(report, comparisons[0]);
  ASSERT_THAT(kinds, SizeIs(3));
  EXPECT_EQ(kinds[0].of, "cosFormer");
  EXPECT_EQ(kinds[0].over, "softmax");
  EXPECT_EQ(kinds[0].probability, 1);
  EXPECT_EQ(kinds[1].over, "BC");
  EXPECT_EQ(kinds[1].probability, 0.75);
  const std::vector<Improvement> contexts = ContextImprovements(report);
  ASSERT_THAT(contexts, SizeIs(1));
  EXPECT_EQ(contexts[0].of, "cosFormer 50");
  EXPECT_EQ(contexts[0].over, "20");
  EXPECT_EQ(contexts[0].probability, 0.5);
  EXPECT_EQ(contexts[0].tasks, 1u);
}

}  // namespace
}  // namespace cosdt::experiments
