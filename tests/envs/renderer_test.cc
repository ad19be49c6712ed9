#include "envs/renderer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "envs/hopper.h"

namespace cosdt::envs {
namespace {

const std::vector<double> kStanding = {0, 1.25, 0, 0, 0, 0};
const std::vector<double> kStill(6, 0.0);

TEST(RendererTest, ShowsTheBodyUprightInTheMiddle) {
  Hopper hopper(Physics::kD4rl);
  hopper.SetState(kStanding, kStill);
  Renderer renderer(hopper, 160, 120);
  const std::vector<uint8_t> frame = renderer.Frame(hopper);
  ASSERT_EQ(frame.size(), 160u * 120 * 3);
  // the body is the only thing in warm colors: much more red than blue
  int warm = 0, left = 160, right = 0;
  for (int y = 0; y < 120; ++y) {
    for (int x = 0; x < 160; ++x) {
      const uint8_t* pixel = &frame[(y * 160 + x) * 3];
      if (pixel[0] < pixel[2] + 40) continue;
      ++warm;
      left = std::min(left, x);
      right = std::max(right, x);
    }
  }
  EXPECT_GT(warm, 100);
  EXPECT_GT(left, 50);
  EXPECT_LT(right, 110);
  // the sky, at the top, is bluer than the floor
  EXPECT_GT(frame[2] - frame[0], 10);
}

TEST(RendererTest, FollowsTheState) {
  Hopper hopper(Physics::kD4rl);
  hopper.SetState(kStanding, kStill);
  Renderer renderer(hopper, 160, 120);
  const auto upright = renderer.Frame(hopper);
  EXPECT_EQ(renderer.Frame(hopper), upright);
  hopper.SetState(std::vector<double>{0, 1.25, 0.5, -0.5, -0.5, 0}, kStill);
  EXPECT_NE(renderer.Frame(hopper), upright);
}

TEST(RendererTest, SeveralRenderersTakeTurns) {
  Hopper hopper(Physics::kD4rl);
  Renderer large(hopper, 160, 120), small(hopper, 80, 60);
  const auto first = large.Frame(hopper);
  EXPECT_EQ(small.Frame(hopper).size(), 80u * 60 * 3);
  EXPECT_EQ(large.Frame(hopper), first);
}

TEST(RendererTest, RefusesFramesLargerThanTheBuffer) {
  Hopper hopper(Physics::kD4rl);
  EXPECT_THROW(Renderer(hopper, 2000, 100), std::invalid_argument);
  EXPECT_THROW(Renderer(hopper, 100, 0), std::invalid_argument);
}

}  // namespace
}  // namespace cosdt::envs
