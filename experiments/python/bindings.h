// The Python package's binding: each file adds its part to the module cosdt._cosdt, which the
// package's Python files wrap. Arrays come in checked and contiguous from there.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <unistd.h>

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

// The process that an object with threads was made in: a fork has none of them, and would wait for
// them for ever.
class Process {
 public:
  // Throws std::runtime_error in another process.
  void ExpectSame(const char* what) const {
    if (getpid() == pid_) return;
    throw std::runtime_error(std::string(what) + ": expected to be used in process " +
                             std::to_string(pid_) + ", which made it, found a fork of it, " +
                             std::to_string(getpid()) + "; make it after the fork");
  }

 private:
  pid_t pid_ = getpid();
};

}  // namespace cosdt::python
