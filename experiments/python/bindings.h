// The Python package's binding: each file adds its part to the module cosdt._cosdt, which the
// package's Python files wrap. Arrays come in checked and contiguous from there.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <unistd.h>

#include <mutex>
#include <stdexcept>
#include <string>

namespace cosdt::python {

namespace nb = nanobind;

template <typename T, int kDimensions>
using Array = nb::ndarray<T, nb::ndim<kDimensions>, nb::c_contig, nb::device::cpu>;

void BindAgents(nb::module_& module);
void BindCollect(nb::module_& module);
void BindDatasets(nb::module_& module);
void BindEnvs(nb::module_& module);

// Throws std::invalid_argument unless an array has so many elements.
template <typename AnyArray>
void ExpectSize(const char* name, const AnyArray& array, size_t expected) {
  if (array.size() == expected) return;
  throw std::invalid_argument(std::string(name) + ": expected " + std::to_string(expected) +
                              " values, found " + std::to_string(array.size()));
}

// Guards an object with a pool of threads, which runs one loop at a time, and only in the process
// that made it: a fork has none of the threads, and would wait for them for ever.
class PoolGuard {
 public:
  PoolGuard(const char* what, int threads) : what_(what), threads_(threads) {}

  // While the result lives, the GIL is released and no other Python thread is in such a call.
  // Throws std::runtime_error in a fork.
  struct Call {
    nb::gil_scoped_release release;
    std::lock_guard<std::mutex> lock;
  };
  Call Enter() {
    if (threads_ > 1 && getpid() != pid_) {
      throw std::runtime_error(std::string(what_) + ": expected to be used in process " +
                               std::to_string(pid_) + ", which made it, found a fork of it, " +
                               std::to_string(getpid()) + "; make it after the fork");
    }
    return {{}, std::lock_guard(mutex_)};
  }

 private:
  const char* what_;
  int threads_;
  pid_t pid_ = getpid();
  std::mutex mutex_;
};

}  // namespace cosdt::python
