#include "agents/rollout/video_writer.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <stdexcept>
#include <utility>

namespace cosdt::agents {

VideoWriter::VideoWriter(std::string file, int width, int height, double frames_per_second)
    : file_(std::move(file)) {
  const std::filesystem::path folder = std::filesystem::path(file_.path()).parent_path();
  if (!folder.empty() && !std::filesystem::is_directory(folder)) {
    throw std::runtime_error(file_.path() + ": expected the folder " + folder.string() +
                             ", found none");
  }
  // a socket rather than a pipe: writing to one whose reader has ended can be told not to raise
  // SIGPIPE, which would end the whole program
  int ends[2];
  messages_ = datasets::FileDescriptor(memfd_create("ffmpeg", MFD_CLOEXEC));
  if (!messages_.is_open() || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    throw std::runtime_error(file_.path() +
                             ": cannot open a channel to ffmpeg: " + std::strerror(errno));
  }
  pipe_ = datasets::FileDescriptor(ends[0]);
  const datasets::FileDescriptor input(ends[1]);
  const std::string size = std::to_string(width) + "x" + std::to_string(height);
  const std::string rate = std::to_string(frames_per_second);
  // "file:" keeps names such as -a.mp4 and run:1.mp4 from being read as options and protocols
  const std::string target = "file:" + file_.temporary();
  const char* arguments[] = {
      "ffmpeg",     "-v",      "error",      "-y",           "-f",         "rawvideo", "-pix_fmt",
      "rgb24",      "-s",      size.c_str(), "-r",           rate.c_str(), "-i",       "-",
      "-c:v",       "libx264", "-preset",    "veryfast",     "-pix_fmt",   "yuv420p",  "-movflags",
      "+faststart", "-f",      "mp4",        target.c_str(), nullptr};
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, input, STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, messages_, STDERR_FILENO);
  const int error = posix_spawnp(&child_, "ffmpeg", &actions, nullptr,
                                 const_cast<char* const*>(arguments), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) {
    throw std::runtime_error(file_.path() +
                             ": expected the program ffmpeg, found: " + std::strerror(error));
  }
}

VideoWriter::~VideoWriter() {
  if (child_ >= 0) Wait();
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
  file_.Commit();
}

int VideoWriter::Wait() {
  pipe_ = datasets::FileDescriptor();
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
  throw std::runtime_error(file_.path() +
                           ": ffmpeg failed: " + (line.empty() ? "no message" : line));
}

}  // namespace cosdt::agents
