#include "agents/decoding/stream_schedule.h"

#include <gtest/gtest.h>

#include <optional>

namespace cosdt::agents::decoding {
namespace {

TEST(StreamScheduleTest, RecurrentHasOneStreamThatRemembersTheEpisode) {
  const StreamSchedule schedule = MakeSchedule(DecodeMode::kRecurrent, 20);
  EXPECT_EQ(schedule.streams(), 1);
  for (const int64_t step : {0, 1, 20, 999}) {
    EXPECT_EQ(schedule.Age(0, step), step);
    EXPECT_TRUE(schedule.Answers(0, step));
  }
}

// Against streams that count their steps themselves: stream 0 starts with the episode, stream 1
// half a period later, and each starts over after a period.
TEST(StreamScheduleTest, StaggeredRestartsStreamsInTurnAndTheOlderAnswers) {
  for (const int64_t context : {2, 4, 20}) {
    const StreamSchedule schedule = MakeSchedule(DecodeMode::kStaggered, context);
    EXPECT_EQ(schedule.streams(), 2);
    std::optional<int64_t> ages[2];
    for (int64_t step = 0; step < 5 * context; ++step) {
      for (int i = 0; i < 2; ++i) {
        if (ages[i]) ages[i] = (*ages[i] + 1) % context;
        if (step == i * context / 2) ages[i] = 0;
        if (ages[i]) {
          EXPECT_EQ(schedule.Age(i, step), *ages[i]);
        } else {
          EXPECT_LT(schedule.Age(i, step), 0);
        }
      }
      const int older = ages[1].value_or(-1) > *ages[0] ? 1 : 0;
      EXPECT_TRUE(schedule.Answers(older, step)) << context << " " << step;
      EXPECT_FALSE(schedule.Answers(1 - older, step)) << context << " " << step;
      const int64_t seen = *ages[older] + 1;
      EXPECT_GE(seen, std::min(step + 1, context / 2 + 1));
      EXPECT_LE(seen, context);
    }
  }
}

}  // namespace
}  // namespace cosdt::agents::decoding
