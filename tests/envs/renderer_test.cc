#include "envs/renderer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <filesystem>
#include <set>

#include "envs/hopper.h"
#include "envs/video_writer.h"

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
  // the body is the only thing in warm colours: much more red than blue
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

class VideoWriterTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::path(::testing::TempDir()) / ("video_" + std::to_string(getpid()));
    std::filesystem::create_directory(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  std::string File() const { return folder_ / "a video.mp4"; }

  std::filesystem::path folder_;
};

TEST_F(VideoWriterTest, WritesAFileThatFfprobeReads) {
  VideoWriter writer(File(), 64, 48, 25);
  for (int i = 0; i < 10; ++i)
    writer.Add(std::vector<uint8_t>(64 * 48 * 3, static_cast<uint8_t>(20 * i)));
  EXPECT_FALSE(std::filesystem::exists(File()));
  writer.Close();
  const std::string command =
      "ffprobe -v error -count_frames -show_entries stream=codec_name,width,height,nb_read_frames "
      "-of csv=p=0 '" +
      File() + "'";
  FILE* probe = popen(command.c_str(), "r");
  char line[128] = "";
  ASSERT_TRUE(std::fgets(line, sizeof line, probe));
  pclose(probe);
  EXPECT_STREQ(line, "h264,64,48,10\n");
}

TEST_F(VideoWriterTest, LeavesNothingWithoutClose) {
  {
    VideoWriter(File(), 64, 48, 25).Add(std::vector<uint8_t>(64 * 48 * 3));
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder_));
}

TEST_F(VideoWriterTest, RefusesMissingFoldersAndFolders) {
  EXPECT_THROW(VideoWriter(folder_ / "missing" / "video.mp4", 64, 48, 25), std::runtime_error);
  EXPECT_THROW(VideoWriter(folder_, 64, 48, 25), std::runtime_error);
}

TEST_F(VideoWriterTest, TakesNamesThatLookLikeOptionsAndProtocols) {
  for (const char* name : {"-x.mp4", "run:1.mp4"}) {
    VideoWriter writer(folder_ / name, 64, 48, 25);
    writer.Add(std::vector<uint8_t>(64 * 48 * 3));
    writer.Close();
    EXPECT_TRUE(std::filesystem::exists(folder_ / name));
  }
}

TEST_F(VideoWriterTest, PassesOnWhatFfmpegSays) {
  // an odd width, which the format cannot have
  VideoWriter writer(File(), 63, 48, 25);
  EXPECT_THAT(
      [&] {
        for (int i = 0; i < 1000; ++i) writer.Add(std::vector<uint8_t>(63 * 48 * 3));
        writer.Close();
      },
      ::testing::Throws<std::runtime_error>(::testing::Property(
          &std::runtime_error::what, ::testing::HasSubstr("ffmpeg failed: [libx264"))));
}

}  // namespace
}  // namespace cosdt::envs
