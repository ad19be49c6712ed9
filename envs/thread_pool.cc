#include "envs/thread_pool.h"

#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>

namespace cosdt::envs {
namespace {

// Waits until `value` is no longer `old`. Loops follow each other within microseconds, and a
// sleeping thread takes longer than that to wake (on a virtual machine as long as several steps):
// it first looks for a while, each time giving way to whoever else wants the core.
template <typename T>
void WaitWhile(const std::atomic<T>& value, T old) {
  constexpr int kLooks = 1000;
  for (int i = 0; i < kLooks; ++i) {
    if (value != old) return;
    std::this_thread::yield();
  }
  value.wait(old);
}

}  // namespace

ThreadPool::ThreadPool(int threads) {
  if (threads < 1) {
    throw std::invalid_argument("threads: expected at least 1, found " + std::to_string(threads));
  }
  try {
    for (int i = 1; i < threads; ++i) workers_.emplace_back([this] { Work(); });
  } catch (const std::system_error& e) {
    const int started = this->threads();
    Stop();
    throw std::runtime_error("threads: expected " + std::to_string(threads) + ", the system gave " +
                             std::to_string(started) + ": " + e.what());
  }
}

ThreadPool::~ThreadPool() { Stop(); }

void ThreadPool::Stop() {
  stop_ = true;
  ++loop_;
  loop_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::ForEach(int count, const std::function<void(int)>& body) {
  body_ = &body;
  count_ = count;
  next_ = 0;
  running_ = static_cast<int>(workers_.size());
  ++loop_;
  loop_.notify_all();
  RunIndices();
  for (int running; (running = running_) != 0;) WaitWhile(running_, running);
  if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
}

void ThreadPool::Work() {
  for (uint32_t seen = 0;;) {
    WaitWhile(loop_, seen);
    seen = loop_;
    if (stop_) return;
    RunIndices();
    if (--running_ == 0) running_.notify_one();
  }
}

void ThreadPool::RunIndices() {
  for (int i; (i = next_++) < count_;) {
    try {
      (*body_)(i);
    } catch (...) {
      const std::lock_guard lock(error_mutex_);
      if (!error_) error_ = std::current_exception();
    }
  }
}

}  // namespace cosdt::envs
