#pragma once

#include <hdf5.h>

#include <mutex>

namespace cosdt::datasets {

// An HDF5 identifier that closes itself.
class Hdf5Id {
 public:
  Hdf5Id(hid_t id, herr_t (*close)(hid_t)) : id_(id), close_(close) {}
  ~Hdf5Id() {
    if (id_ >= 0) close_(id_);
  }
  Hdf5Id(const Hdf5Id&) = delete;
  Hdf5Id& operator=(const Hdf5Id&) = delete;
  operator hid_t() const { return id_; }

 private:
  hid_t id_;
  herr_t (*close_)(hid_t);
};

// HDF5's library is not made for threads: whoever calls it holds this. Recursive, because the
// functions of Hdf5File call each other.
std::recursive_mutex& Hdf5Mutex();

}  // namespace cosdt::datasets
