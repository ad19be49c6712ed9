#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

namespace cosdt::datasets {

// What is wrong with a file, in one line: "FILE: KEY: expected EXPECTED, found FOUND".
class FileError : public std::runtime_error {
 public:
  FileError(const std::string& file, const std::string& key, const std::string& expected,
            const std::string& found)
      : std::runtime_error(file + ": " + (key.empty() ? "" : key + ": ") + "expected " + expected +
                           ", found " + found) {}
};

// "(1000, 11)"; "()" for a scalar.
std::string ShapeString(const std::vector<uint64_t>& shape);

// An HDF5 file opened for reading. Everything throws FileError.
class Hdf5File {
 public:
  explicit Hdf5File(std::string path);
  ~Hdf5File();
  Hdf5File(const Hdf5File&) = delete;
  Hdf5File& operator=(const Hdf5File&) = delete;

  const std::string& path() const { return path_; }

  // Whether there is a dataset or group of that name ("metadata/policy").
  bool Has(const std::string& key) const;

  // The shape of the dataset `key`.
  std::vector<uint64_t> Shape(const std::string& key) const;

  // The dataset `key`, which must have the shape given, in row-major order and converted to float32
  // from whatever float or integer type it has.
  std::vector<float> ReadFloats(const std::string& key, const std::vector<uint64_t>& shape) const;

  // The scalar fixed-length byte string `key`, without the padding.
  std::string ReadString(const std::string& key) const;

 private:
  std::string path_;
  int64_t file_ = -1;
};

}  // namespace cosdt::datasets
