#include "agents/behaviour/transition_log.h"

#include <fcntl.h>
#include <libdeflate.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <utility>

#include "datasets/file_descriptor.h"
#include "datasets/file_error.h"

namespace cosdt::agents {
namespace {

constexpr int64_t kScalars = 4;  // reward, log_prob, terminal, timeout

datasets::FileDescriptor Open(const std::string& path, int flags) {
  datasets::FileDescriptor file(path, flags);
  if (file.is_open()) return file;
  throw std::runtime_error(path + ": cannot be opened: " + std::strerror(errno));
}

}  // namespace

TransitionLog::TransitionLog(const envs::EnvSpec& spec, int64_t capacity, std::string path)
    : observation_size_(spec.observation_size),
      action_size_(spec.action_size),
      path_(std::move(path)),
      rows_(torch::empty({capacity, 2 * observation_size_ + action_size_ + kScalars})) {}

void TransitionLog::Load(int64_t steps, uint32_t checksum) {
  const datasets::FileDescriptor file = Open(path_, O_RDONLY);
  auto* const bytes = reinterpret_cast<char*>(rows_.data_ptr<float>());
  const int64_t row_bytes = rows_.size(1) * static_cast<int64_t>(sizeof(float));
  const int64_t expected = steps * row_bytes;
  const auto found = static_cast<int64_t>(file.ReadAt(0, bytes, expected));
  if (found < expected) {
    throw datasets::FileError(path_, "", "at least " + std::to_string(expected) + " bytes",
                              std::to_string(found));
  }
  checksum_ = libdeflate_crc32(0, bytes, expected);
  if (checksum_ != checksum) {
    throw datasets::FileError(path_, "", "checksum " + std::to_string(checksum),
                              std::to_string(checksum_));
  }
  size_ = flushed_ = steps;
}

void TransitionLog::Append(const Step& step) {
  if (size_ == capacity()) throw std::length_error("the log of transitions is full");
  float* out = rows_.data_ptr<float>() + size_ * rows_.size(1);
  out = std::ranges::copy(step.observation, out).out;
  out = std::ranges::copy(step.action, out).out;
  out = std::ranges::copy(step.next_observation, out).out;
  *out++ = step.reward;
  *out++ = step.log_prob;
  *out++ = step.terminal;
  *out++ = step.timeout;
  ++size_;
}

void TransitionLog::Flush() {
  const datasets::FileDescriptor file = Open(path_, O_WRONLY | O_CREAT);
  const auto* const bytes = reinterpret_cast<const char*>(rows_.const_data_ptr<float>());
  const int64_t row_bytes = rows_.size(1) * static_cast<int64_t>(sizeof(float));
  const int64_t begin = flushed_ * row_bytes;
  const auto count = static_cast<size_t>(size_ * row_bytes - begin);
  if (file.WriteAt(begin, bytes + begin, count) < count) {
    throw std::runtime_error(path_ + ": writing failed: " + std::strerror(errno));
  }
  if (fsync(file) != 0) {
    throw std::runtime_error(path_ + ": syncing failed: " + std::strerror(errno));
  }
  checksum_ = libdeflate_crc32(checksum_, bytes + begin, count);
  flushed_ = size_;
}

TransitionLog::Step TransitionLog::operator[](int64_t i) const {
  const float* const row = rows_.const_data_ptr<float>() + i * rows_.size(1);
  const std::span<const float> all(row, rows_.size(1));
  const std::span<const float> scalars = all.last(kScalars);
  return {all.first(observation_size_),
          all.subspan(observation_size_, action_size_),
          all.subspan(observation_size_ + action_size_, observation_size_),
          scalars[0],
          scalars[1],
          scalars[2] != 0,
          scalars[3] != 0};
}

SacBatch TransitionLog::Gather(const torch::Tensor& steps) const {
  const torch::Tensor rows = rows_.index_select(0, steps);
  const int64_t next = observation_size_ + action_size_;
  const int64_t scalars = next + observation_size_;
  return {rows.narrow(1, 0, observation_size_), rows.narrow(1, observation_size_, action_size_),
          rows.select(1, scalars), rows.narrow(1, next, observation_size_),
          rows.select(1, scalars + 2)};
}

}  // namespace cosdt::agents
