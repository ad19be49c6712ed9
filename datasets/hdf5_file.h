#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "datasets/file_descriptor.h"
#include "datasets/file_error.h"

namespace cosdt::datasets {

// "(1000, 11)"; "()" for a scalar.
std::string ShapeString(const std::vector<uint64_t>& shape);

enum class NumberType { kFloat, kInteger, kBool, kOther };  // kBool: h5py's enum over int8

struct ArrayInfo {
  std::vector<uint64_t> shape;
  NumberType type = NumberType::kOther;
  size_t bytes = 0;  // of one value
};

// An HDF5 file opened for reading. Everything throws FileError. Sizes that the file states are
// checked against the bytes it has before memory is taken for them. Nothing outside the file is
// opened or read: what lies behind an external link, wherever on the way to a key, in external
// storage or in the sources of a virtual dataset is refused by name.
class Hdf5File {
 public:
  explicit Hdf5File(std::string path);
  // A file that is in memory, which must outlive this; messages give it the name.
  Hdf5File(std::string name, std::span<const uint8_t> bytes);
  ~Hdf5File();
  Hdf5File(const Hdf5File&) = delete;
  Hdf5File& operator=(const Hdf5File&) = delete;

  const std::string& path() const { return path_; }  // or name
  uint64_t file_size() const { return file_size_; }

  // HDF5's identifier.
  int64_t id() const { return file_; }

  // Reads bytes of the file itself, from any thread. False if they are not all there.
  bool ReadBytes(uint64_t offset, std::span<uint8_t> out) const;

  // Whether there is a dataset or group of that name ("metadata/policy"). Throws if the name is
  // there and leads out of the file, nowhere, or to what cannot be read.
  bool Has(const std::string& key) const;

  // HDF5's identifier of the dataset `key`; the caller closes it with H5Oclose.
  int64_t Open(const std::string& key) const;

  // The names in a group, in the order of their bytes ("" is the root). Throws if it is none.
  std::vector<std::string> Names(const std::string& group) const;

  // The keys of all datasets that hard links lead to below a group, in the order of their bytes.
  std::vector<std::string> Datasets(const std::string& group = "") const;

  // Shape and type of the dataset `key`. The stored data must be as many bytes as its shape needs;
  // storage that was never written, which has a fill value, is none.
  ArrayInfo Info(const std::string& key) const;

  // The shape of the dataset `key`.
  std::vector<uint64_t> Shape(const std::string& key) const;

  // The dataset `key`, which must have the shape given, in row-major order and converted to float32
  // from whatever float or integer type it has. For small ones; see ReadArray.
  std::vector<float> ReadFloats(const std::string& key, const std::vector<uint64_t>& shape) const;

  // The scalar integer `key`.
  int64_t ReadInteger(const std::string& key) const;

  // The scalar string `key`, of fixed length (without the padding) or variable, as h5py writes it.
  std::string ReadString(const std::string& key) const;

  // The string attribute of the root group, of either length that HDF5 knows; "" if there is
  // none.
  std::string ReadAttribute(const std::string& name) const;

 private:
  // Opens any object: below 0 if there is none. Throws as Has does.
  int64_t TryOpen(const std::string& key) const;

  std::string path_;
  uint64_t file_size_ = 0;
  int64_t file_ = -1;
  FileDescriptor descriptor_;  // for ReadBytes; closed if the file is in memory:
  std::span<const uint8_t> bytes_;
};

}  // namespace cosdt::datasets
