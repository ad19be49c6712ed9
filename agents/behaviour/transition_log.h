#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <span>
#include <string>

#include "agents/behaviour/sac.h"
#include "envs/env.h"

namespace cosdt::agents {

// Every step of a run in its order: SAC's replay buffer, kept in a file that only grows. The state
// of a run says how many of the file's rows count, so that a kill while rows are added loses
// nothing. float32, in the machine's byte order.
class TransitionLog {
 public:
  // One step, and one row of the tensor and the file: the fields in this order.
  struct Step {
    std::span<const float> observation, action, next_observation;
    float reward = 0;
    float log_prob = 0;  // of the action
    bool terminal = false;
    bool timeout = false;
  };

  // Room for `capacity` steps, of a run that begins: what the file at `path` holds does not count.
  TransitionLog(const envs::EnvSpec& spec, int64_t capacity, std::string path);

  // Reads the first `steps` rows of the file; what follows them does not count. Throws
  // datasets::FileError if there are fewer, or their checksum is another.
  void Load(int64_t steps, uint32_t checksum);

  // Adds a step, in memory. Throws std::length_error when full.
  void Append(const Step& step);

  // Adds to the file, synced, what was appended since the last call. Throws std::runtime_error.
  void Flush();

  // CRC-32 of what has been flushed.
  uint32_t checksum() const { return checksum_; }

  int64_t size() const { return size_; }
  int64_t capacity() const { return rows_.size(0); }

  // Row `i` in [0, size).
  Step operator[](int64_t i) const;

  // The steps of these indices, int64 [batch].
  SacBatch Gather(const torch::Tensor& steps) const;

 private:
  int64_t observation_size_, action_size_;
  std::string path_;
  torch::Tensor rows_;  // [capacity, columns]
  int64_t size_ = 0;
  int64_t flushed_ = 0;
  uint32_t checksum_ = 0;
};

}  // namespace cosdt::agents
