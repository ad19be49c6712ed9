#include "datasets/hdf5_file.h"

#include <hdf5.h>

#include <utility>

namespace cosdt::datasets {
namespace {

// An HDF5 identifier that closes itself.
class Id {
 public:
  Id(hid_t id, herr_t (*close)(hid_t)) : id_(id), close_(close) {}
  ~Id() {
    if (id_ >= 0) close_(id_);
  }
  Id(const Id&) = delete;
  Id& operator=(const Id&) = delete;
  operator hid_t() const { return id_; }

 private:
  hid_t id_;
  herr_t (*close_)(hid_t);
};

}  // namespace

std::string ShapeString(const std::vector<uint64_t>& shape) {
  std::string text = "(";
  for (size_t i = 0; i < shape.size(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + ")";
}

Hdf5File::Hdf5File(std::string path) : path_(std::move(path)) {
  // errors are told by the return values; the library would print a page for each
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
  file_ = H5Fopen(path_.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT);
  if (file_ < 0) throw FileError(path_, "", "a readable HDF5 file", "none");
}

Hdf5File::~Hdf5File() { H5Fclose(file_); }

bool Hdf5File::Has(const std::string& key) const {
  // H5Lexists wants every group on the way to exist
  for (size_t end = key.find('/'); end != std::string::npos; end = key.find('/', end + 1)) {
    if (H5Lexists(file_, key.substr(0, end).c_str(), H5P_DEFAULT) <= 0) return false;
  }
  return H5Lexists(file_, key.c_str(), H5P_DEFAULT) > 0;
}

std::vector<uint64_t> Hdf5File::Shape(const std::string& key) const {
  if (!Has(key)) throw FileError(path_, key, "a dataset", "none");
  const Id dataset(H5Dopen2(file_, key.c_str(), H5P_DEFAULT), H5Dclose);
  if (dataset < 0) throw FileError(path_, key, "a dataset", "something else");
  const Id space(H5Dget_space(dataset), H5Sclose);
  const int rank = H5Sget_simple_extent_ndims(space);
  if (rank < 0) throw FileError(path_, key, "a dataset with a shape", "none");
  std::vector<hsize_t> shape(rank);
  H5Sget_simple_extent_dims(space, shape.data(), nullptr);
  return {shape.begin(), shape.end()};
}

std::vector<float> Hdf5File::ReadFloats(const std::string& key,
                                        const std::vector<uint64_t>& shape) const {
  const std::vector<uint64_t> found = Shape(key);
  if (found != shape)
    throw FileError(path_, key, "shape " + ShapeString(shape), ShapeString(found));
  const Id dataset(H5Dopen2(file_, key.c_str(), H5P_DEFAULT), H5Dclose);
  const Id type(H5Dget_type(dataset), H5Tclose);
  const H5T_class_t kind = H5Tget_class(type);
  if (kind != H5T_FLOAT && kind != H5T_INTEGER)
    throw FileError(path_, key, "numbers", "another type");
  size_t count = 1;
  for (const uint64_t n : shape) count *= n;
  std::vector<float> values(count);
  if (H5Dread(dataset, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()) < 0) {
    throw FileError(path_, key, std::to_string(count) + " readable numbers", "damaged data");
  }
  return values;
}

std::string Hdf5File::ReadString(const std::string& key) const {
  if (!Shape(key).empty())
    throw FileError(path_, key, "a scalar", "shape " + ShapeString(Shape(key)));
  const Id dataset(H5Dopen2(file_, key.c_str(), H5P_DEFAULT), H5Dclose);
  const Id type(H5Dget_type(dataset), H5Tclose);
  if (H5Tget_class(type) != H5T_STRING || H5Tis_variable_str(type) > 0 ||
      H5Tget_size(type) > 4096) {
    throw FileError(path_, key, "a short fixed-length string", "another type");
  }
  std::string text(H5Tget_size(type), '\0');
  if (H5Dread(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, text.data()) < 0) {
    throw FileError(path_, key, "a readable string", "damaged data");
  }
  return text.c_str();
}

}  // namespace cosdt::datasets
