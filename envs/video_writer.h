#pragma once

#include <sys/types.h>

#include <cstdint>
#include <span>
#include <string>

namespace cosdt::envs {

// Writes frames to an MP4 file (H.264, plays in browsers) through the ffmpeg program. The file
// appears under its name when Close has returned; until then it is FILE.partial.mp4.
class VideoWriter {
 public:
  // width and height are even numbers of pixels. Throws std::runtime_error where the file's folder
  // is missing, the name is a folder's, or ffmpeg cannot be started.
  VideoWriter(std::string file, int width, int height, double frames_per_second);

  // Without Close the unfinished file is removed.
  ~VideoWriter();
  VideoWriter(const VideoWriter&) = delete;
  VideoWriter& operator=(const VideoWriter&) = delete;

  // Adds a frame: height x width x 3 bytes of RGB, the top row first. Throws std::runtime_error
  // where ffmpeg has ended.
  void Add(std::span<const uint8_t> frame);

  // Finishes the file. Throws std::runtime_error where ffmpeg failed.
  void Close();

 private:
  // Ends ffmpeg and returns its exit status.
  int Wait();
  [[noreturn]] void Fail();

  std::string file_;
  std::string partial_;
  pid_t child_ = -1;
  int pipe_ = -1;
  int messages_ = -1;  // a file in memory for what ffmpeg says
};

}  // namespace cosdt::envs
