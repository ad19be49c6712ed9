// One computation on several processes, over LibTorch's c10d: a TCPStore, in which they meet, and
// Gloo, which sums their tensors, or NCCL, which sums those on GPUs.
#pragma once

#include <torch/torch.h>

#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "agents/processes/process_place.h"

namespace cosdt::agents {

// Another process has ended, stands still or has failed; the message names its rank.
class ProcessLost : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// All calls but rank(), size(), Progress and Fail are made by all processes, in one order. They
// throw ProcessLost if a process has ended, has been stopped or cut off from the network for 20
// seconds, or stands still in a computation of its own; one that gets on is waited for.
class ProcessGroup {
 public:
  // Meets the others. Throws std::runtime_error: if the port is in use, if rank 0 does not answer
  // or ranks are missing after `patience`, if two processes have one rank, or if sizes differ.
  // `allowance`: of a Computation.
  explicit ProcessGroup(const ProcessPlace& place,
                        std::chrono::seconds patience = std::chrono::seconds(60),
                        std::chrono::seconds allowance = std::chrono::seconds(30));
  ~ProcessGroup();
  ProcessGroup(const ProcessGroup&) = delete;

  int rank() const { return rank_; }
  int local_rank() const { return local_rank_; }  // among those of this host
  int size() const { return size_; }
  bool is_first() const { return rank_ == 0; }

  // "rank 1 of 2 (process 4711 on node07)": this one in messages.
  const std::string& Name() const;

  // Of `count` things, those that this process takes: [first, first + count).
  struct Share {
    int64_t first, count;
  };
  Share ShareOf(int64_t count) const {
    const int64_t begin = rank_ * count / size_;
    return {begin, (rank_ + 1) * count / size_ - begin};
  }

  // While it exists, this process computes, and is to call the group or Progress() now and then: if
  // it does not for longer than the allowance, and than four times the longest that it has needed
  // yet, the others throw ProcessLost. There is no limit before the first call. The group, which
  // may be null, must outlive it.
  class Computation {
   public:
    explicit Computation(ProcessGroup* group);
    ~Computation();
    Computation(const Computation&) = delete;

   private:
    ProcessGroup* group_;
  };
  void Progress();

  // Lets Sum take tensors on the device, each process one of its own. A second call does nothing.
  // Throws std::runtime_error in a build without NCCL, and what NCCL says.
  void UseDevice(const torch::Device& device);

  // Adds up a contiguous tensor in place, on the CPU or the device: all get the same bits. On the
  // device it comes behind earlier work of the current stream, and is waited for.
  void Sum(torch::Tensor tensor);

  // Rank 0's tensor, contiguous on the CPU, or bytes, for all.
  void Broadcast(torch::Tensor tensor);
  std::string Broadcast(const std::string& bytes);

  // The bytes of all, by rank.
  std::vector<std::string> Gather(const std::string& bytes);

  // Whether any process says so.
  bool Any(bool here);

  // Throws std::runtime_error that names `what`, the rank and the first lines that differ if a
  // process has another value than rank 0.
  void ExpectSame(const std::string& what, const std::string& value);

  // Waits until all are here: the end.
  void Finish();

  // Ends the group for this process, because of an error, with whose message the others then throw
  // ProcessLost. Whether this is the first failure, which is to be printed. `is_lost`: because of a
  // ProcessLost, which rank 0, if it is left, is the first to report.
  bool Fail(const std::string& message, bool is_lost = false);

 private:
  class Connection;

  int rank_, size_, local_rank_;
  std::unique_ptr<Connection> connection_;
};

}  // namespace cosdt::agents
