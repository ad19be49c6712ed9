#pragma once

#include <sys/types.h>

#include <cstdint>
#include <span>
#include <string>

#include "datasets/atomic_file.h"
#include "datasets/file_descriptor.h"

namespace cosdt::agents {

// Writes frames to an MP4 file (H.264, plays in browsers) through the ffmpeg program. The file
// appears in Close, as a whole (datasets/atomic_file.h).
class VideoWriter {
 public:
  // width and height are even numbers of pixels. Throws std::runtime_error if the file's folder is
  // missing, the name is a folder's, or ffmpeg cannot be started.
  VideoWriter(std::string file, int width, int height, double frames_per_second);

  ~VideoWriter();
  VideoWriter(const VideoWriter&) = delete;
  VideoWriter& operator=(const VideoWriter&) = delete;

  // Adds a frame: height x width x 3 bytes of RGB, the top row first. Throws std::runtime_error if
  // ffmpeg has ended.
  void Add(std::span<const uint8_t> frame);

  // Finishes the file. Throws std::runtime_error if ffmpeg failed.
  void Close();

 private:
  // Ends ffmpeg and returns its exit status.
  int Wait();
  [[noreturn]] void Fail();

  datasets::AtomicFile file_;
  pid_t child_ = -1;
  datasets::FileDescriptor pipe_;
  datasets::FileDescriptor messages_;  // a file in memory for ffmpeg's messages
};

}  // namespace cosdt::agents
