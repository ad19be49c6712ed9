#include "datasets/hdf5_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <utility>

#include "datasets/array_reader.h"
#include "datasets/hdf5_id.h"

namespace cosdt::datasets {
namespace {

using Lock = std::lock_guard<std::recursive_mutex>;

// deflate cannot shrink data further than this (RFC 1951: 258 bytes for two bits)
constexpr uint64_t kMostCompression = 1032;
constexpr uint64_t kSmall = 4096;  // what any file may ask for

// True where the name is a link inside this file. Links to other files are not followed: a dataset
// has no reason to open whatever path it names.
bool IsLocalLink(hid_t file, const std::string& key) {
  if (H5Lexists(file, key.c_str(), H5P_DEFAULT) <= 0) return false;
  H5L_info_t info;
  return H5Lget_info(file, key.c_str(), &info, H5P_DEFAULT) >= 0 && info.type != H5L_TYPE_EXTERNAL;
}

bool IsHalf(hid_t type) {
  size_t sign = 0, exponent = 0, exponent_bits = 0, mantissa = 0, mantissa_bits = 0;
  return H5Tget_size(type) == 2 && H5Tget_precision(type) == 16 &&
         H5Tget_fields(type, &sign, &exponent, &exponent_bits, &mantissa, &mantissa_bits) >= 0 &&
         sign == 15 && exponent == 10 && exponent_bits == 5 && mantissa == 0 && mantissa_bits == 10;
}

// Only the types that numpy has: HDF5 can describe others, and its conversions of damaged ones are
// not to be relied on.
NumberType TypeOf(hid_t type) {
  switch (H5Tget_class(type)) {
    case H5T_FLOAT:
      for (const hid_t known : {H5T_IEEE_F32LE, H5T_IEEE_F64LE, H5T_IEEE_F32BE, H5T_IEEE_F64BE}) {
        if (H5Tequal(type, known) > 0) return NumberType::kFloat;
      }
      return IsHalf(type) ? NumberType::kFloat : NumberType::kOther;
    case H5T_INTEGER: {
      const size_t bytes = H5Tget_size(type);
      const bool whole = H5Tget_precision(type) == 8 * bytes && H5Tget_offset(type) == 0;
      return whole && bytes <= 8 && std::has_single_bit(bytes) ? NumberType::kInteger
                                                               : NumberType::kOther;
    }
    case H5T_ENUM: {
      const Hdf5Id base(H5Tget_super(type), H5Tclose);
      return H5Tequal(base, H5T_STD_I8LE) > 0 ? NumberType::kBool : NumberType::kOther;
    }
    default:
      return NumberType::kOther;
  }
}

}  // namespace

std::recursive_mutex& Hdf5Mutex() {
  static std::recursive_mutex mutex;
  return mutex;
}

std::string ShapeString(const std::vector<uint64_t>& shape) {
  std::string text = "(";
  for (size_t i = 0; i < shape.size(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + ")";
}

Hdf5File::Hdf5File(std::string path) : path_(std::move(path)) {
  const Lock lock(Hdf5Mutex());
  // errors are told by the return values; the library would print a page for each
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
  descriptor_ = open(path_.c_str(), O_RDONLY | O_CLOEXEC);
  struct stat status{};
  if (descriptor_ >= 0 && fstat(descriptor_, &status) == 0 && S_ISREG(status.st_mode)) {
    file_size_ = static_cast<uint64_t>(status.st_size);
    file_ = H5Fopen(path_.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT);
  }
  if (file_ < 0) {
    if (descriptor_ >= 0) close(descriptor_);
    throw FileError(path_, "", "a readable HDF5 file", "none");
  }
}

Hdf5File::Hdf5File(std::string name, std::span<const uint8_t> bytes)
    : path_(std::move(name)), file_size_(bytes.size()), bytes_(bytes) {
  const Lock lock(Hdf5Mutex());
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
  const Hdf5Id access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
  H5Pset_fapl_core(access, kSmall, false);
  // HDF5 makes a copy
  H5Pset_file_image(access, const_cast<uint8_t*>(bytes.data()), bytes.size());
  file_ = H5Fopen(path_.c_str(), H5F_ACC_RDONLY, access);
  if (file_ < 0) throw FileError(path_, "", "a readable HDF5 file", "none");
}

Hdf5File::~Hdf5File() {
  const Lock lock(Hdf5Mutex());
  H5Fclose(file_);
  if (descriptor_ >= 0) close(descriptor_);
}

bool Hdf5File::ReadBytes(uint64_t offset, std::span<uint8_t> out) const {
  if (descriptor_ < 0) {
    if (offset > bytes_.size() || out.size() > bytes_.size() - offset) return false;
    std::ranges::copy(bytes_.subspan(offset, out.size()), out.begin());
    return true;
  }
  while (!out.empty()) {
    const ssize_t n = pread(descriptor_, out.data(), out.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    out = out.subspan(static_cast<size_t>(n));
    offset += static_cast<uint64_t>(n);
  }
  return true;
}

bool Hdf5File::Has(const std::string& key) const {
  const Lock lock(Hdf5Mutex());
  // H5Lexists wants every group on the way to exist
  for (size_t end = key.find('/'); end != std::string::npos; end = key.find('/', end + 1)) {
    if (!IsLocalLink(file_, key.substr(0, end))) return false;
  }
  return IsLocalLink(file_, key);
}

std::vector<std::string> Hdf5File::Names(const std::string& group) const {
  const Lock lock(Hdf5Mutex());
  if (!group.empty() && !Has(group)) throw FileError(path_, group, "a group", "none");
  const Hdf5Id id(H5Gopen2(file_, group.empty() ? "/" : group.c_str(), H5P_DEFAULT), H5Gclose);
  if (id < 0) throw FileError(path_, group, "a group", "something else");
  std::vector<std::string> names;
  const auto add = [](hid_t, const char* name, const H5L_info_t*, void* list) -> herr_t {
    static_cast<std::vector<std::string>*>(list)->push_back(name);
    return 0;
  };
  if (H5Literate(id, H5_INDEX_NAME, H5_ITER_INC, nullptr, add, &names) < 0) {
    throw FileError(path_, group, "a readable group", "damaged data");
  }
  return names;
}

std::vector<std::string> Hdf5File::Datasets(const std::string& group) const {
  const Lock lock(Hdf5Mutex());
  constexpr int kDeepest =
      16;  // D4RL's deepest key has four names; a damaged file may have a cycle
  if (std::ranges::count(group, '/') > kDeepest) {
    throw FileError(path_, group, "at most " + std::to_string(kDeepest) + " nested groups", "more");
  }
  std::vector<std::string> keys;
  for (const std::string& name : Names(group)) {
    const std::string key = group.empty() ? name : group + "/" + name;
    if (!IsLocalLink(file_, key)) continue;
    H5O_info_t info;
    if (H5Oget_info_by_name1(file_, key.c_str(), &info, H5P_DEFAULT) < 0) {
      throw FileError(path_, key, "a readable object", "damaged data");
    }
    if (info.type == H5O_TYPE_DATASET) {
      keys.push_back(key);
    } else if (info.type == H5O_TYPE_GROUP) {
      for (std::string& inner : Datasets(key)) keys.push_back(std::move(inner));
    }
  }
  return keys;
}

ArrayInfo Hdf5File::Info(const std::string& key) const {
  const Lock lock(Hdf5Mutex());
  if (!Has(key)) throw FileError(path_, key, "a dataset", "none");
  const Hdf5Id dataset(H5Dopen2(file_, key.c_str(), H5P_DEFAULT), H5Dclose);
  if (dataset < 0) throw FileError(path_, key, "a dataset", "something else");
  const Hdf5Id space(H5Dget_space(dataset), H5Sclose);
  const int rank = H5Sget_simple_extent_ndims(space);
  if (rank < 0) throw FileError(path_, key, "a dataset with a shape", "none");
  std::vector<hsize_t> shape(rank);
  H5Sget_simple_extent_dims(space, shape.data(), nullptr);
  const Hdf5Id type(H5Dget_type(dataset), H5Tclose);
  const Hdf5Id properties(H5Dget_create_plist(dataset), H5Pclose);
  if (type < 0 || properties < 0) {
    throw FileError(path_, key, "a dataset with a type", "damaged data");
  }
  const H5D_layout_t layout = H5Pget_layout(properties);
  if (layout < 0 || layout == H5D_VIRTUAL || H5Pget_external_count(properties) != 0) {
    throw FileError(path_, key, "data within the file", "data in other files");
  }

  const ArrayInfo info{{shape.begin(), shape.end()}, TypeOf(type), H5Tget_size(type)};
  unsigned __int128 bytes = info.bytes;
  for (const uint64_t n : info.shape) {
    bytes *= n;
    if (bytes > UINT64_MAX) bytes = UINT64_MAX;
  }
  const uint64_t stored = H5Dget_storage_size(dataset);
  const bool fits = layout == H5D_CHUNKED ? bytes <= stored * kMostCompression
                                          : bytes <= stored || bytes <= kSmall;
  if (stored > file_size_ || !fits) {
    throw FileError(
        path_, key, "data for shape " + ShapeString(info.shape),
        std::to_string(stored) + " stored bytes in a file of " + std::to_string(file_size_));
  }
  return info;
}

std::vector<uint64_t> Hdf5File::Shape(const std::string& key) const { return Info(key).shape; }

std::vector<float> Hdf5File::ReadFloats(const std::string& key,
                                        const std::vector<uint64_t>& shape) const {
  const Lock lock(Hdf5Mutex());
  const ArrayInfo info = Info(key);
  if (info.shape != shape) {
    throw FileError(path_, key, "shape " + ShapeString(shape), ShapeString(info.shape));
  }
  if (info.type != NumberType::kFloat && info.type != NumberType::kInteger) {
    throw FileError(path_, key, "numbers", "another type");
  }
  if (shape.empty() || shape.size() > 2) {
    throw FileError(path_, key, "a vector or a matrix", ShapeString(shape));
  }
  const uint64_t width = shape.size() == 2 ? shape[1] : 1;
  std::vector<float> values(shape[0] * width);
  ReadArray<float>(*this, key, shape[0], width, values, 1);
  return values;
}

int64_t Hdf5File::ReadInteger(const std::string& key) const {
  const Lock lock(Hdf5Mutex());
  const ArrayInfo info = Info(key);
  if (!info.shape.empty() || info.type != NumberType::kInteger) {
    throw FileError(path_, key, "a scalar integer", "shape " + ShapeString(info.shape));
  }
  const Hdf5Id dataset(H5Dopen2(file_, key.c_str(), H5P_DEFAULT), H5Dclose);
  int64_t value = 0;
  if (H5Dread(dataset, H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, &value) < 0) {
    throw FileError(path_, key, "a readable integer", "damaged data");
  }
  return value;
}

std::string Hdf5File::ReadString(const std::string& key) const {
  const Lock lock(Hdf5Mutex());
  const ArrayInfo info = Info(key);
  if (!info.shape.empty()) throw FileError(path_, key, "a scalar", ShapeString(info.shape));
  const Hdf5Id dataset(H5Dopen2(file_, key.c_str(), H5P_DEFAULT), H5Dclose);
  const Hdf5Id type(H5Dget_type(dataset), H5Tclose);
  if (H5Tget_class(type) != H5T_STRING || H5Tis_variable_str(type) > 0 || info.bytes > kSmall) {
    throw FileError(path_, key, "a short fixed-length string", "another type");
  }
  std::string text(info.bytes, '\0');
  if (H5Dread(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, text.data()) < 0) {
    throw FileError(path_, key, "a readable string", "damaged data");
  }
  return text.c_str();
}

}  // namespace cosdt::datasets
