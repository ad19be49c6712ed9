#include "envs/video_writer.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <stdexcept>
#include <utility>

namespace cosdt::envs {

VideoWriter::VideoWriter(std::string file, int width, int height, double frames_per_second)
    : file_(std::move(file)), partial_(file_ + ".partial.mp4") {
  const std::filesystem::path folder = std::filesystem::path(file_).parent_path();
  if (!folder.empty() && !std::filesystem::is_directory(folder)) {
    throw std::runtime_error(file_ + ": expected the folder " + folder.string() + ", found none");
  }
  if (std::filesystem::is_directory(file_)) {
    throw std::runtime_error(file_ + ": expected a file's name, found a folder");
  }
  // a socket rather than a pipe: writing to one whose reader has ended can be told not to raise
  // SIGPIPE, which would end the whole program
  int ends[2];
  messages_ = memfd_create("ffmpeg", MFD_CLOEXEC);
  if (messages_ < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    const int error = errno;
    if (messages_ >= 0) close(messages_);
    throw std::runtime_error(file_ + ": cannot open a channel to ffmpeg: " + std::strerror(error));
  }
  const std::string size = std::to_string(width) + "x" + std::to_string(height);
  const std::string rate = std::to_string(frames_per_second);
  // "file:" keeps names such as -a.mp4 and run:1.mp4 from being read as options and protocols
  const std::string target = "file:" + partial_;
  const char* arguments[] = {"ffmpeg",    "-v",         "error",        "-y",       "-f",
                             "rawvideo",  "-pix_fmt",   "rgb24",        "-s",       size.c_str(),
                             "-r",        rate.c_str(), "-i",           "-",        "-c:v",
                             "libx264",   "-preset",    "veryfast",     "-pix_fmt", "yuv420p",
                             "-movflags", "+faststart", target.c_str(), nullptr};
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, messages_, STDERR_FILENO);
  const int error = posix_spawnp(&child_, "ffmpeg", &actions, nullptr,
                                 const_cast<char* const*>(arguments), environ);
  posix_spawn_file_actions_destroy(&actions);
  close(ends[1]);
  pipe_ = ends[0];
  if (error != 0) {
    close(pipe_);
    close(messages_);
    throw std::runtime_error(file_ +
                             ": expected the program ffmpeg, found: " + std::strerror(error));
  }
}

VideoWriter::~VideoWriter() {
  if (child_ >= 0) Wait();
  close(messages_);
  std::remove(partial_.c_str());  // gone already where Close was reached
}

void VideoWriter::Add(std::span<const uint8_t> frame) {
  while (!frame.empty()) {
    const ssize_t sent = send(pipe_, frame.data(), frame.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) {
      Wait();
      Fail();
    }
    frame = frame.subspan(sent);
  }
}

void VideoWriter::Close() {
  if (Wait() != 0) Fail();
  if (std::rename(partial_.c_str(), file_.c_str()) != 0) {
    throw std::runtime_error(file_ + ": cannot be written: " + std::strerror(errno));
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

void VideoWriter::Fail() {
  char text[256] = "";
  const ssize_t length = pread(messages_, text, sizeof text - 1, 0);
  std::string line(text, std::max<ssize_t>(length, 0));
  line = line.substr(0, line.find('\n'));
  throw std::runtime_error(file_ + ": ffmpeg failed: " + (line.empty() ? "no message" : line));
}

}  // namespace cosdt::envs
