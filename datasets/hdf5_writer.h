#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "datasets/atomic_file.h"

namespace cosdt::datasets {

// Writes an HDF5 file as h5py writes D4RL's: arrays in chunks of the size that h5py picks, gzip
// level 4, no attributes, no timestamps, so that equal contents are equal bytes.
//
// The file appears in Commit, as atomic_file.h says. Everything throws std::runtime_error with the
// path if writing fails.
class Hdf5Writer {
 public:
  // Refuses a folder's path.
  explicit Hdf5Writer(std::string path);

  ~Hdf5Writer();
  Hdf5Writer(const Hdf5Writer&) = delete;
  Hdf5Writer& operator=(const Hdf5Writer&) = delete;

  // An array of the shape given, row-major, stored as float32, float64, or h5py's bool.
  void Array(const std::string& key, const std::vector<uint64_t>& shape,
             std::span<const float> values);
  void Array(const std::string& key, const std::vector<uint64_t>& shape,
             std::span<const double> values);
  // Integers that are given as floats, (N,), stored as int64.
  void Integers(const std::string& key, std::span<const float> values);
  void Flags(const std::string& key, std::span<const uint8_t> values);

  // Scalars: a fixed-length byte string, which must not be empty, and an int32.
  void Text(const std::string& key, const std::string& value);
  void Integer(const std::string& key, int32_t value);

  // Closes, syncs and renames the file.
  void Commit();

 private:
  [[noreturn]] void Fail(const std::string& what);
  void Write(const std::string& key, int64_t stored, int64_t memory,
             const std::vector<uint64_t>& shape, const void* data);

  AtomicFile target_;
  int64_t file_ = -1;
};

// The chunk shape that h5py chooses for an array (h5py/_hl/filters.py, guess_chunk): about 16 KiB
// to 1 MiB, halving dimensions in turn.
std::vector<uint64_t> GuessChunk(const std::vector<uint64_t>& shape, size_t bytes);

}  // namespace cosdt::datasets
