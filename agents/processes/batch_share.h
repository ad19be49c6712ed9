#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <span>
#include <string>

#include "agents/processes/process_group.h"

namespace cosdt::agents {

// The consecutive rows of every batch that this process computes, and the sums over those of all
// processes of a group. Without a group it has all rows, and sums are what they were.
class BatchShare {
 public:
  // At the end of a message, for values: a cache line.
  static constexpr int64_t kNotes = 16;

  // The group, which may be null, must outlive this object. Throws std::invalid_argument, which
  // says what the rows are, if it has more processes than a batch has rows.
  BatchShare(ProcessGroup* group, int64_t rows, const std::string& what = "rows");

  ProcessGroup* group() const { return group_; }
  int64_t first() const { return share_.first; }
  int64_t count() const { return share_.count; }
  int64_t whole() const { return rows_; }  // rows of the batch

  // Adds up gradients and values: message [n + kNotes], float32, has the gradients, and
  // takes fewer than kNotes values with it. Also tells whether any process asks for a stop.
  void Sum(const torch::Tensor& message, std::span<double> values);

  // Adds up values alone.
  void Sum(std::span<double> values) const;

  // Asks all to stop after the next update, whose message tells them; whether any process asked in
  // the last one.
  void AskToStop(bool stop) { asks_to_stop_ = stop; }
  bool is_asked_to_stop() const { return is_asked_to_stop_; }

 private:
  ProcessGroup* group_;
  int64_t rows_;
  ProcessGroup::Share share_;
  bool asks_to_stop_ = false, is_asked_to_stop_ = false;
};

}  // namespace cosdt::agents
