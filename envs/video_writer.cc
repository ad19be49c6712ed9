#include "envs/video_writer.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <stdexcept>
#include <utility>

namespace cosdt::envs {

VideoWriter::VideoWriter(std::string file, int width, int height, double frames_per_second)
    : file_(std::move(file)), partial_(file_ + ".partial.mp4") {
  // a socket rather than a pipe: writing to one whose reader has ended can be told not to raise
  // SIGPIPE, which would end the whole program
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    throw std::runtime_error(file_ + ": cannot open a channel to ffmpeg: " + std::strerror(errno));
  }
  const std::string size = std::to_string(width) + "x" + std::to_string(height);
  const std::string rate = std::to_string(frames_per_second);
  const char* arguments[] = {"ffmpeg",
                             "-v",
                             "error",
                             "-y",
                             "-f",
                             "rawvideo",
                             "-pix_fmt",
                             "rgb24",
                             "-s",
                             size.c_str(),
                             "-r",
                             rate.c_str(),
                             "-i",
                             "-",
                             "-c:v",
                             "libx264",
                             "-preset",
                             "veryfast",
                             "-pix_fmt",
                             "yuv420p",
                             "-movflags",
                             "+faststart",
                             partial_.c_str(),
                             nullptr};
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDIN_FILENO);
  const int error = posix_spawnp(&child_, "ffmpeg", &actions, nullptr,
                                 const_cast<char* const*>(arguments), environ);
  posix_spawn_file_actions_destroy(&actions);
  close(ends[1]);
  pipe_ = ends[0];
  if (error != 0) {
    close(pipe_);
    throw std::runtime_error(file_ +
                             ": expected the program ffmpeg, found: " + std::strerror(error));
  }
}

VideoWriter::~VideoWriter() {
  if (child_ < 0) return;
  Wait();
  std::remove(partial_.c_str());
}

void VideoWriter::Add(std::span<const uint8_t> frame) {
  while (!frame.empty()) {
    const ssize_t sent = send(pipe_, frame.data(), frame.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) throw std::runtime_error(file_ + ": ffmpeg ended early (its message is above)");
    frame = frame.subspan(sent);
  }
}

int VideoWriter::Wait() {
  close(pipe_);
  int status = -1;
  while (waitpid(child_, &status, 0) < 0 && errno == EINTR) {
  }
  child_ = -1;
  return status;
}

void VideoWriter::Close() {
  if (Wait() != 0) {
    std::remove(partial_.c_str());
    throw std::runtime_error(file_ + ": ffmpeg failed (its message is above)");
  }
  if (std::rename(partial_.c_str(), file_.c_str()) != 0) {
    throw std::runtime_error(file_ + ": cannot be written: " + std::strerror(errno));
  }
}

}  // namespace cosdt::envs
