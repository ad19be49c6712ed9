#include "agents/rollout/video_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <vector>

namespace cosdt::agents {
namespace {

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
}  // namespace cosdt::agents
