#include "datasets/hdf5_file.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <utility>

#include "datasets/array_reader.h"
#include "datasets/file_kind.h"
#include "datasets/hdf5_id.h"
#include "datasets/hdf5_open.h"

namespace cosdt::datasets {
namespace {

using Lock = std::lock_guard<std::recursive_mutex>;

constexpr uint64_t kSmall = 4096;  // what any file may ask for

// HDF5 asks before it follows an external link: no. A dataset has no reason to open whatever path
// it names, and what lies there would be read at its addresses from this file's bytes.
herr_t RefuseExternal(const char*, const char*, const char* file, const char* object, unsigned*,
                      hid_t, void* found) {
  *static_cast<std::string*>(found) = std::string("an external link to ") + file + ":" + object;
  return -1;
}

std::string SoftTarget(hid_t file, const std::string& key, size_t size) {
  std::string target(size, '\0');
  if (H5Lget_val(file, key.c_str(), target.data(), size, H5P_DEFAULT) < 0) return "?";
  return target.c_str();
}

// Why an object that no external link keeps away cannot be opened; "" if there is none.
std::string WhyNotThere(hid_t file, const std::string& key) {
  // H5Lexists wants every group on the way to exist
  for (size_t end = 0; end != std::string::npos;) {
    end = key.find('/', end + 1);
    const std::string part = key.substr(0, end);
    const htri_t exists = H5Lexists(file, part.c_str(), H5P_DEFAULT);
    if (exists == 0) return "";
    H5L_info_t info;
    if (exists < 0 || H5Lget_info(file, part.c_str(), &info, H5P_DEFAULT) < 0) break;
    if (info.type == H5L_TYPE_SOFT && H5Oexists_by_name(file, part.c_str(), H5P_DEFAULT) <= 0) {
      return "a soft link to " + SoftTarget(file, part, info.u.val_size) + ", which is not there";
    }
    H5O_info_t object;
    if (H5Oget_info_by_name1(file, part.c_str(), &object, H5P_DEFAULT) < 0) break;
    if (end != std::string::npos && object.type != H5O_TYPE_GROUP) return "";
  }
  return "damaged data";
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

// The first file outside in which a dataset keeps its data, as a message's "found ..", or "".
std::string OtherFile(hid_t properties) {
  std::string name(kSmall, '\0');
  if (H5Pget_layout(properties) == H5D_VIRTUAL) {
    if (H5Pget_virtual_filename(properties, 0, name.data(), name.size()) < 0) name[0] = '?';
    return std::string("a virtual dataset over ") + name.c_str();
  }
  if (H5Pget_external_count(properties) == 0) return "";
  off_t offset = 0;
  hsize_t size = 0;
  H5Pget_external(properties, 0, name.size() - 1, name.data(), &offset, &size);
  return std::string("external storage in ") + name.c_str();
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
  if (const std::string why = WhyNoFile(path_); !why.empty()) {
    throw FileError(path_, "", "a readable HDF5 file", why);
  }
  descriptor_ = FileDescriptor(path_, O_RDONLY);
  struct stat status{};
  if (!descriptor_.is_open() || fstat(descriptor_, &status) != 0) {
    throw FileError(path_, "", "a readable HDF5 file", std::strerror(errno));
  }
  file_size_ = static_cast<uint64_t>(status.st_size);
  file_ = OpenUnderLock(path_, descriptor_);
  if (file_ < 0) {
    throw FileError(path_, "", "a readable HDF5 file", WhyNotOpened(*this, descriptor_));
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
  if (file_ < 0) throw FileError(path_, "", "a readable HDF5 file", WhyNotOpened(*this, -1));
}

Hdf5File::~Hdf5File() {
  const Lock lock(Hdf5Mutex());
  H5Fclose(file_);
}

bool Hdf5File::ReadBytes(uint64_t offset, std::span<uint8_t> out) const {
  if (!descriptor_.is_open()) {
    if (offset > bytes_.size() || out.size() > bytes_.size() - offset) return false;
    std::ranges::copy(bytes_.subspan(offset, out.size()), out.begin());
    return true;
  }
  return descriptor_.ReadAt(offset, out.data(), out.size()) == out.size();
}

int64_t Hdf5File::TryOpen(const std::string& key) const {
  const Hdf5Id access(H5Pcreate(H5P_LINK_ACCESS), H5Pclose);
  std::string why;
  H5Pset_elink_cb(access, RefuseExternal, &why);
  const hid_t object = H5Oopen(file_, key.c_str(), access);
  if (object >= 0) return object;
  if (why.empty()) why = WhyNewer();
  if (why.empty()) why = WhyNotThere(file_, key);
  if (!why.empty()) throw FileError(path_, key, "data within the file", why);
  return -1;
}

bool Hdf5File::Has(const std::string& key) const {
  const Lock lock(Hdf5Mutex());
  const Hdf5Id object(TryOpen(key), H5Oclose);
  return object >= 0;
}

int64_t Hdf5File::Open(const std::string& key) const {
  const Lock lock(Hdf5Mutex());
  const int64_t object = TryOpen(key);
  if (object < 0) throw FileError(path_, key, "a dataset", "none");
  if (H5Iget_type(object) == H5I_DATASET) return object;
  H5Oclose(object);
  throw FileError(path_, key, "a dataset", "something else");
}

std::vector<std::string> Hdf5File::Names(const std::string& group) const {
  const Lock lock(Hdf5Mutex());
  const Hdf5Id id(TryOpen(group.empty() ? "/" : group), H5Oclose);
  if (id < 0) throw FileError(path_, group, "a group", "none");
  if (H5Iget_type(id) != H5I_GROUP) throw FileError(path_, group, "a group", "something else");
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
    H5L_info_t link;
    H5O_info_t info;
    if (H5Lget_info(file_, key.c_str(), &link, H5P_DEFAULT) < 0 || link.type != H5L_TYPE_HARD ||
        H5Oget_info_by_name1(file_, key.c_str(), &info, H5P_DEFAULT) < 0) {
      continue;
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
  const Hdf5Id dataset(Open(key), H5Oclose);
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
  if (const std::string other = OtherFile(properties); layout < 0 || !other.empty()) {
    throw FileError(path_, key, "data within the file", layout < 0 ? "damaged data" : other);
  }

  const ArrayInfo info{{shape.begin(), shape.end()}, TypeOf(type), H5Tget_size(type)};
  unsigned __int128 bytes = info.bytes;
  for (const uint64_t n : info.shape) {
    bytes *= n;
    if (bytes > UINT64_MAX) bytes = UINT64_MAX;
  }
  const uint64_t stored = H5Dget_storage_size(dataset);
  // besides what was never written there are arrays of as many rows, which take at least so much
  const bool sparse = layout == H5D_CHUNKED || stored == 0;
  const bool fits = bytes <= kSmall || bytes <= (sparse ? file_size_ * kMaxCompression : stored);
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
    throw FileError(path_, key, "numeric values", "another type");
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
  const Hdf5Id dataset(Open(key), H5Oclose);
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
  const Hdf5Id dataset(Open(key), H5Oclose);
  const Hdf5Id type(H5Dget_type(dataset), H5Tclose);
  if (H5Tget_class(type) != H5T_STRING || info.bytes > kSmall) {
    throw FileError(path_, key, "a short string", "another type");
  }
  if (H5Tis_variable_str(type) > 0) {
    char* read = nullptr;
    H5Dread(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, &read);
    if (!read) throw FileError(path_, key, "a readable string", "damaged data");
    const std::string text = read;
    H5free_memory(read);
    return text;
  }
  std::string text(info.bytes, '\0');
  if (H5Dread(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, text.data()) < 0) {
    throw FileError(path_, key, "a readable string", "damaged data");
  }
  return text.c_str();
}

std::string Hdf5File::ReadAttribute(const std::string& name) const {
  const Lock lock(Hdf5Mutex());
  if (H5Aexists(file_, name.c_str()) <= 0) return "";
  const Hdf5Id attribute(H5Aopen(file_, name.c_str(), H5P_DEFAULT), H5Aclose);
  const Hdf5Id type(H5Aget_type(attribute), H5Tclose);
  const Hdf5Id space(H5Aget_space(attribute), H5Sclose);
  if (H5Tget_class(type) != H5T_STRING || H5Sget_simple_extent_npoints(space) != 1) {
    throw FileError(path_, name, "one string", "another type");
  }
  std::string text;
  if (H5Tis_variable_str(type) > 0) {
    char* read = nullptr;
    if (H5Aread(attribute, type, &read) >= 0 && read) text = read;
    H5free_memory(read);
    if (read) return text;
  } else {
    text.resize(H5Tget_size(type));
    if (H5Aread(attribute, type, text.data()) >= 0) return text.c_str();
  }
  throw FileError(path_, name, "a readable string", "damaged data");
}

}  // namespace cosdt::datasets
