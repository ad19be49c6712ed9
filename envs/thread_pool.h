#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace cosdt::envs {

// Threads that share the indices of a loop. The calling thread works too, so a pool of one thread
// starts none.
class ThreadPool {
 public:
  // Throws std::invalid_argument for fewer than one thread, std::runtime_error if the system
  // does not give as many.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls body(i) once for each i in [0, count), on any thread and in any order, and returns when
  // all have returned. The first exception that a call throws is thrown here, after the rest has
  // ended. One loop at a time: not to be called from two threads at once or from within a body.
  void ForEach(int count, const std::function<void(int)>& body);

 private:
  void Stop();
  void Work();
  void RunIndices();

  std::vector<std::thread> workers_;
  const std::function<void(int)>* body_ = nullptr;
  int count_ = 0;
  std::atomic<int> next_ = 0;
  std::atomic<int> running_ = 0;    // workers that have not finished the current loop
  std::atomic<uint32_t> loop_ = 0;  // counts loops; workers wait for it to change
  std::atomic<bool> stop_ = false;
  std::mutex error_mutex_;
  std::exception_ptr error_;
};

}  // namespace cosdt::envs
