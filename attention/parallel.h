// LibTorch's threads. at::parallel_for is a template on OpenMP: in a file compiled without OpenMP
// it silently takes one thread.
#pragma once

#include <ATen/Parallel.h>

#if AT_PARALLEL_OPENMP && !defined(_OPENMP)
#error \
    "at::parallel_for takes one thread without OpenMP: link cosdt::torch, or compile with -fopenmp"
#endif

namespace cosdt::attention {

// While it lives, LibTorch has one thread: for work that is cut for threads of its own.
class OneThread {
 public:
  OneThread() { at::set_num_threads(1); }
  ~OneThread() { at::set_num_threads(before_); }
  OneThread(const OneThread&) = delete;
  OneThread& operator=(const OneThread&) = delete;

 private:
  int before_ = at::get_num_threads();
};

}  // namespace cosdt::attention
